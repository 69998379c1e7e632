"""Files that are either complete or not there, and hashes of content that cache keys are made of."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from features.errors import MMRecError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Words for it in errors that carry no number: numpy's "9 requested and 3 written", polars' "(os error 28)".
_FULL_TEXT = re.compile(rf"requested and|\(os error ({'|'.join(map(str, _FULL))})\)")
_NEARLY_NOTHING = 1 << 16  # bytes; a disk with less than this left is called full

Hashable = (
    str
    | bytes
    | int
    | float
    | bool
    | None
    | Path
    | np.ndarray
    | Sequence["Hashable"]
    | Mapping[str, "Hashable"]
)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file that is complete or absent: gives a temporary path beside it, renamed at the end.

    The temporary name keeps the suffix, so `np.save`, `torch.save` and polars may write to it as they like.
    After any exception (Ctrl-C included) the temporary file is gone and a file that was at `path` before is
    untouched.

    Args:
        path: where the file goes; missing parent folders are made.

    Yields:
        The path to write to.

    Raises:
        MMRecError: the disk is full, or `path` cannot be written.
    """
    target = Path(path)
    partial = _partial_name(target)
    made = _make_parents(target)
    try:
        yield partial
        _sync(partial)
        os.replace(partial, target)
    except BaseException as error:
        full = _is_full(error, target.parent)
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        _remove_empty(made)
        if (ours := _translate(error, target, full)) is not None:
            raise ours from error
        raise


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a folder that is complete or absent: gives a temporary folder beside it, renamed at the end.

    A folder that was at `path` before is replaced only once the new one is complete, and kept after any
    exception.

    Args:
        path: where the folder goes; missing parent folders are made.

    Yields:
        The temporary folder to fill.

    Raises:
        MMRecError: the disk is full, `path` cannot be written, or it is a file.
    """
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise MMRecError(
            f"{target} is a file, a folder is to be written there: move it or choose another place"
        )
    partial = _partial_name(target)
    retired = partial.with_suffix(".old")
    made = _make_parents(target)
    try:
        partial.mkdir()
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _sync(file)
        if target.exists():
            os.rename(target, retired)
        os.rename(partial, target)
    except BaseException as error:
        full = _is_full(error, target.parent)
        if retired.exists() and not target.exists():
            os.rename(retired, target)
        shutil.rmtree(partial, ignore_errors=True)
        _remove_empty(made)
        if (ours := _translate(error, target, full)) is not None:
            raise ours from error
        raise
    shutil.rmtree(retired, ignore_errors=True)


def recover_folder(path: str | os.PathLike[str]) -> None:
    """Clear away what a killed process left of `atomic_folder(path)`; nobody else may be writing there.

    Killed between its two renames, it had put the older folder aside: that one comes back.
    """
    target = Path(path)
    for left in sorted(target.parent.glob(f".{target.stem}.????????.*")):
        if left.suffix == ".old" and not target.exists():
            os.rename(left, target)
        elif left.suffix in (".old", ".tmp"):
            shutil.rmtree(left, ignore_errors=True)


def write_error(error: OSError, path: Path) -> MMRecError:
    """Our error for a file that could not be written."""
    ours = _translate(error, path, _is_full(error, path.parent))
    return ours or MMRecError(f"cannot write {path}: {error.strerror or error}")


def file_hash(path: str | os.PathLike[str], algorithm: str = "blake2b") -> str:
    """Hash of a file's bytes, read in blocks.

    Args:
        path: the file.
        algorithm: a `hashlib` name: `blake2b` (32 hex digits here) for our own keys, `sha256` where others
            compare it.

    Returns:
        Lower-case hex digits.

    Raises:
        MMRecError: the file cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            if algorithm == "blake2b":
                return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
            return hashlib.file_digest(stream, algorithm).hexdigest()
    except OSError as error:
        raise MMRecError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error


def content_hash(*parts: Hashable) -> str:
    """Hash of values for a cache key: types, shapes, order and the borders between values all count.

    Args:
        parts: numbers, strings, bytes, paths (their text), arrays, and lists or mappings of these. A
            mapping's key order does not count. Arrays of strings hash by their strings, not by their padding.

    Returns:
        32 hex digits (blake2b).
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        _feed(digest, part)
    return digest.hexdigest()


def _feed(digest: hashlib.blake2b, part: Hashable) -> None:
    if isinstance(part, np.ndarray):
        if part.dtype.kind in "UTO":
            _feed(digest, ["array", list(part.shape), part.ravel().tolist()])
            return
        head, body = (
            f"array:{part.dtype.str}:{part.shape}",
            np.ascontiguousarray(part).reshape(-1).view(np.uint8).data,
        )
        digest.update(f"{len(head)}:{head}".encode())
        digest.update(body)
    elif isinstance(part, bytes):
        digest.update(b"bytes:%d:" % len(part) + part)
    elif isinstance(part, Mapping):
        digest.update(b"mapping:%d:" % len(part))
        for key in sorted(part):
            _feed(digest, key)
            _feed(digest, part[key])
    elif isinstance(part, (list, tuple)) and not all(isinstance(value, str) for value in part):
        digest.update(b"list:%d:" % len(part))
        for value in part:
            _feed(digest, value)
    else:  # JSON tells "1" from 1 from true, and escapes whatever could be taken for a border
        text = json.dumps(str(part) if isinstance(part, Path) else part).encode()
        digest.update(b"json:%d:" % len(text) + text)


def _partial_name(target: Path) -> Path:
    return target.with_name(f".{target.stem}.{secrets.token_hex(4)}.tmp{target.suffix}")


def _make_parents(target: Path) -> list[Path]:
    """Make the folders above `target`; returns the new ones, innermost first."""
    missing = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _remove_empty(missing)
        ours = _translate(error, target, error.errno in _FULL)
        raise ours or MMRecError(f"cannot write {target}: {error.strerror} ({error.filename})") from error
    return missing


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _sync(path: Path) -> None:
    with open(path, "rb+") as stream:  # a full disk may first be noticed here
        os.fsync(stream.fileno())


def _is_full(error: BaseException, folder: Path) -> bool:
    """Whether the disk is full. torch reports it as a RuntimeError of no fixed words."""
    if isinstance(error, OSError) and (error.errno in _FULL or _FULL_TEXT.search(str(error))):
        return True
    with contextlib.suppress(OSError):
        return isinstance(error, RuntimeError) and shutil.disk_usage(folder).free < _NEARLY_NOTHING
    return False


def _translate(error: BaseException, target: Path, full: bool) -> MMRecError | None:
    """Our error for what the file system did; None for everything else."""
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:120]
    if full:
        return MMRecError(
            f"disk full ({reason}) while writing {target}: free some space or choose another place"
        )
    where = getattr(error, "filename", None)
    if isinstance(error, OSError) and where is not None and str(target.parent) in str(where):
        return MMRecError(f"cannot write {target}: {reason}")
    return None
