"""What an extraction has encoded so far: a file that only grows, so that a killed one can go on."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from features.base import Float32
from features.errors import FeatureError, MMRecError
from features.files import write_error

HASH_BYTES = 16
_HEAD = struct.Struct("<4sIII")  # magic, rows, numbers in a row, bytes of notes
_MAGIC = b"mmrJ"
_DIGEST = 16


class Journal:
    """Batches of rows under the hashes of their inputs; a context manager.

    Each batch is one record with a checksum. What a kill leaves of a record at the end of the file is cut
    off when the file is opened again, so that at most the batch under way is lost. A second process that
    opens the same journal is refused.

    Attributes:
        offset: hash of an input -> where its vector begins in the file, in floats; -1 where it is broken.
        notes: what was added beside the rows, in order.
    """

    def __init__(self, path: Path, key: str) -> None:
        """Open, or start anew.

        Args:
            path: the file.
            key: what the rows were made with; a journal of another key is emptied.

        Raises:
            MMRecError: another process has it open, or it cannot be written.
        """
        self.path, self.key = path, key
        self.offset: dict[bytes, int] = {}
        self.notes: list[dict[str, Any]] = []
        self.dim = 0
        self._stream: FileIO | None = None

    def __enter__(self) -> Journal:
        """Take the lock, read what is there."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = open(self.path, "a+b", buffering=0)
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._stream.close()  # type: ignore[union-attr]
            raise MMRecError(
                f"another extraction is writing to {self.path.parent}: wait for it, or choose another --out"
            ) from error
        except OSError as error:
            raise write_error(error, self.path) from error
        good = self._read()
        self._stream.truncate(good)
        if good == 0:
            self._append([], np.empty((0, 0), dtype=np.float32), {"key": self.key})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; the file stays for the next time."""
        assert self._stream is not None
        self._stream.close()

    def remove(self) -> None:
        """Delete the file: its rows are in a store now."""
        with contextlib.suppress(OSError):  # it may never have been made
            self.path.unlink()

    def add(self, hashes: Sequence[bytes], rows: Float32, notes: Mapping[str, Any]) -> None:
        """Append a batch.

        Args:
            hashes: of B inputs, 16 bytes each. Those beyond the rows are of inputs that are broken.
            rows: float32 [R, dim], R at most B.
            notes: JSON to keep beside.

        Raises:
            FeatureError: rows of another width than before.
            MMRecError: the disk is full.
        """
        if len(rows) and self.dim and rows.shape[1] != self.dim:
            raise FeatureError(f"the encoder gave rows of {rows.shape[1]} numbers after rows of {self.dim}")
        self._append(hashes, rows, {**notes, "broken_hashes": len(hashes) - len(rows)})

    def rows(self, offsets: npt.NDArray[np.int64]) -> Float32:
        """Vectors float32 [n, dim] that begin at these places."""
        numbers = np.memmap(self.path, dtype=np.float32, mode="r")
        return np.asarray(numbers[offsets[:, None] + np.arange(self.dim)])

    def _append(self, hashes: Sequence[bytes], rows: Float32, notes: Mapping[str, Any]) -> None:
        stream = self._stream
        assert stream is not None
        text = json.dumps(notes).encode()
        text += b" " * (-len(text) % 4)  # vectors begin at multiples of four
        head = _HEAD.pack(_MAGIC, len(rows), rows.shape[1] if len(rows) else 0, len(text))
        body = text + b"".join(hashes) + np.ascontiguousarray(rows).tobytes()
        at = stream.seek(0, 2)
        record = memoryview(head + hashlib.blake2b(head + body, digest_size=_DIGEST).digest() + body)
        try:
            while record:
                record = record[stream.write(record) :]
        except OSError as error:  # what is encoded so far stays; the half record goes
            stream.truncate(at)
            raise write_error(error, self.path) from error
        self._remember(at, len(rows), rows.shape[1] if len(rows) else 0, text, hashes)

    def _remember(self, at: int, count: int, dim: int, text: bytes, hashes: Sequence[bytes]) -> None:
        first = (at + _HEAD.size + _DIGEST + len(text) + HASH_BYTES * len(hashes)) // 4
        self.dim = dim or self.dim
        for number, digest in enumerate(hashes):
            self.offset[digest] = first + number * dim if number < count else -1
        self.notes.append(json.loads(text))

    def _read(self) -> int:
        """Take in the records of this key; gives where the last whole one ends."""
        assert self._stream is not None
        data = np.memmap(self.path, dtype=np.uint8, mode="r") if self.path.stat().st_size else np.empty(0)
        at = 0
        while at + _HEAD.size + _DIGEST <= len(data):
            magic, count, dim, length = _HEAD.unpack(data[at : at + _HEAD.size].tobytes())
            begin = at + _HEAD.size + _DIGEST
            text = data[begin : begin + length].tobytes()
            try:
                notes = json.loads(text) if magic == _MAGIC else None
                hashes = count + int(notes.get("broken_hashes", 0))  # type: ignore[union-attr]
            except (ValueError, AttributeError, TypeError):
                break
            end = begin + length + HASH_BYTES * hashes + 4 * count * dim
            whole = data[at : at + _HEAD.size].tobytes() + data[begin:end].tobytes()
            digest = data[at + _HEAD.size : begin].tobytes()
            if end > len(data) or hashlib.blake2b(whole, digest_size=_DIGEST).digest() != digest:
                break
            if at == 0 and notes.get("key") != self.key:  # type: ignore[union-attr]
                return 0
            names = data[begin + length : begin + length + HASH_BYTES * hashes].tobytes()
            parts = [names[start : start + HASH_BYTES] for start in range(0, len(names), HASH_BYTES)]
            self._remember(at, count, dim, text, parts)
            at = end
        return at
