"""Where a photo's bytes come from: a file, a member of an archive, a cell of a table, or the web."""

from __future__ import annotations

import functools
import glob
import os
import tarfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from features.errors import FeatureError

if TYPE_CHECKING:
    from features.download import Downloads

MAX_BYTES = 64 * 2**20
_CELLS = 512  # rows of a table read at a time


class PhotoError(FeatureError):
    """A photo that cannot be used; `str(error)` is the reason alone, the caller knows the item."""


@dataclass(frozen=True)
class Member:
    """A file inside a tar archive that is not compressed, at a known place."""

    archive: Path
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Its bytes."""
        _check_size(self.size)
        try:
            with open(self.archive, "rb") as stream:
                stream.seek(self.offset)
                data = stream.read(self.size)
        except OSError as error:
            raise PhotoError(error.strerror or "cannot be read") from error
        if len(data) < self.size:
            raise PhotoError(f"the archive ends within it: {len(data):,} of {self.size:,} bytes")
        return data

    def __str__(self) -> str:
        """The archive and the name in it."""
        return f"{self.archive.name}:{self.name}"


@dataclass(frozen=True)
class Cell:
    """Bytes in a column of a parquet file, alone or as `bytes` in a struct as HuggingFace has them."""

    table: Path
    column: str
    row: int

    def read(self) -> bytes:
        """Its bytes."""
        data = _cells(self.table, self.column, self.row // _CELLS)[self.row % _CELLS]
        if data is None:
            raise PhotoError("empty cell")
        _check_size(len(data))
        return data

    def __str__(self) -> str:
        """The table, the column and the row."""
        return f"{self.table.name}, {self.column}, row {self.row + 1}"


@dataclass(frozen=True)
class Url:
    """An address on the web, fetched once and kept."""

    address: str
    downloads: Downloads = field(compare=False, repr=False)

    def read(self) -> bytes:
        """Its bytes, from the disk where they were fetched before."""
        return self.downloads.read(self.address)

    def __str__(self) -> str:
        """The address."""
        return self.address


Photo = Path | Member | Cell | Url
Photos = Photo | tuple[Photo, ...] | None  # of one item


def each(photos: Photos) -> tuple[Photo, ...]:
    """An item's photos one by one."""
    if photos is None:
        return ()
    return photos if isinstance(photos, tuple) else (photos,)


def read_photo(photo: Photo | str | os.PathLike[str]) -> bytes:
    """A photo's bytes, wherever they are.

    Raises:
        PhotoError: absent, empty, unreadable, or over 64 MiB.
    """
    if isinstance(photo, Member | Cell | Url):
        data = photo.read()
    else:
        path = Path(photo)
        try:
            size = path.stat().st_size
            if not path.is_file():
                raise PhotoError("not a file")
            _check_size(size)
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise PhotoError("no such file") from error
        except OSError as error:
            raise PhotoError(error.strerror or "cannot be read") from error
    if not data:
        raise PhotoError("empty file (0 bytes)")
    return data


def photos_of(names: Sequence[str], folder: Path, downloads: Downloads) -> tuple[Photo, ...]:
    """What an item's cell names: paths, patterns such as `B01*.jpg`, or addresses.

    Args:
        names: as they stand in the table.
        folder: relative paths start there.
        downloads: fetches addresses.

    Returns:
        The photos, those of a pattern sorted by name; a path that is not there stays, to be reported.
    """
    found: list[Photo] = []
    for name in names:
        if name.startswith(("http://", "https://")):
            found.append(Url(name, downloads))
        elif any(sign in name for sign in "*?[") and not (folder / name).exists():
            found.extend(Path(path) for path in sorted(glob.glob(str(folder / name))))
        else:
            found.append(folder / name)
    return tuple(found)


def members_by_id(archives: Iterable[Path]) -> dict[str, tuple[Member, ...]]:
    """Photos of tar archives (WebDataset shards) under the item ids that their names begin with.

    Args:
        archives: .tar files. `B01.jpg` and `photos/B01.jpg` belong to item B01, and so do `B01.0.jpg`,
            `B01.front.png` and `B01/1.jpg`, unless an id is longer: the caller looks up what it knows.

    Returns:
        Candidate id -> members, sorted by name. A member is listed under every id it may belong to.

    Raises:
        FeatureError: not an uncompressed tar archive.
    """
    found: dict[str, list[Member]] = {}
    for archive in archives:
        try:
            with tarfile.open(archive, "r:") as tar:
                for entry in tar:
                    if not entry.isfile() or Path(entry.name).suffix.lower() not in _SUFFIXES:
                        continue
                    member = Member(archive, entry.name, entry.offset_data, entry.size)
                    for name in _candidates(entry.name):
                        found.setdefault(name, []).append(member)
        except (tarfile.TarError, OSError, ValueError) as error:
            raise FeatureError(
                f"{archive} cannot be read as a tar archive ({error}): expected one that is not compressed"
            ) from error
    return {name: tuple(sorted(members, key=lambda one: one.name)) for name, members in found.items()}


_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".ppm"}


def _candidates(name: str) -> list[str]:
    """`a/B01.0.jpg` may be of B01.0, of B01, or of a."""
    path = Path(name)
    stem = path.name[: -len(path.suffix)] if path.suffix else path.name
    names = [stem]
    while "." in stem:
        stem = stem.rpartition(".")[0]
        names.append(stem)
    if path.parent.name:
        names.append(path.parent.name)
    return [name for name in dict.fromkeys(names) if name]


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise PhotoError(f"{size:,} bytes, at most {MAX_BYTES:,} are read")


_reading = threading.Lock()


def _cells(table: Path, column: str, block: int) -> list[bytes | None]:
    with _reading:  # many threads ask for the same block at once
        return _read_cells(table, column, block)


@functools.lru_cache(maxsize=4)
def _read_cells(table: Path, column: str, block: int) -> list[bytes | None]:
    try:
        series: Any = (
            pl.scan_parquet(table).select(column).slice(block * _CELLS, _CELLS).collect().to_series()
        )
        if isinstance(series.dtype, pl.Struct):
            series = series.struct.field("bytes")
        return list(series.to_list())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise PhotoError(f"cannot be read ({' '.join(str(error).split())[:80]})") from error
