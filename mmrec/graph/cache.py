"""Arrays kept on disk under the hash of what they were made from."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from features.files import atomic_file
from mmrec.errors import GraphError

Arrays = Mapping[str, np.ndarray]
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def cached(folder: Path | None, key: str, build: Callable[[], Arrays]) -> Arrays:
    """The arrays kept in `folder` under `key`, else those that `build` makes, then kept.

    Args:
        folder: made if absent; None keeps nothing.
        key: hash of everything the arrays depend on (`features.files.content_hash`), as another input must
            never find them.
        build: makes the arrays.

    Raises:
        GraphError: if the kept file cannot be read (it was written whole or not at all, so it was damaged
            later).
    """
    if folder is None:
        return build()
    path = folder / f"{key}.npz"
    if path.is_file():
        return read_npz(path, "cached graph", "delete it and run again")
    arrays = build()
    with atomic_file(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]
    return arrays


def read_npz(path: Path, what: str, advice: str) -> Arrays:
    """All arrays of an .npz file; nothing in it is ever unpickled.

    Args:
        path: the file.
        what: what it is, for the error.
        advice: what to do if it cannot be read.

    Raises:
        GraphError: for a file that is missing, damaged, or something else.
    """
    try:
        # Opened as zip first: what is no zip, numpy would take for a pickle and say so.
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            return dict(file)
    except _UNREADABLE as error:
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
        raise GraphError(f"{what} {path} cannot be read as .npz ({reason}); {advice}") from error
