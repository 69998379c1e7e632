"""Which photos each row of an item table names: paths, patterns, addresses, archives, bytes in the table."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from features.errors import FeatureError
from features.sources import Cell, Photo, Photos, Url, each, members_by_id, photos_of

if TYPE_CHECKING:
    from features.download import Downloads


def photos_from_column(
    values: Sequence[str | Sequence[str] | None],
    path: Path,
    column: str,
    separator: str | None,
    downloads: Downloads,
) -> list[Photos]:
    """Photos that the cells of a column name.

    Args:
        values: a name per row, several of them, or none.
        path: the table; relative paths start in its folder.
        column: for the error.
        separator: between several names in one cell; None if a cell is one name.
        downloads: fetches addresses.

    Raises:
        FeatureError: no cell names anything.
    """
    photos = [_single(photos_of(_names(value, separator), path.parent, downloads)) for value in values]
    if not any(each(entry) for entry in photos):
        raise FeatureError(
            f"{path}: column '{column}' is empty in every row: expected paths of photos or addresses"
        )
    return photos


def photos_from_template(
    names: Sequence[str | None], path: Path, template: str, downloads: Downloads
) -> list[Photos]:
    """Photos at one path for all with columns filled in; a file that is not there means no photo.

    Args:
        names: the filled template, per row; None where a column is empty.
        path: the table; relative paths start in its folder.
        template: for the error.
        downloads: fetches addresses.

    Raises:
        FeatureError: no item has a photo.
    """
    photos: list[Photos] = []
    for name in names:
        found = photos_of([name], path.parent, downloads) if name is not None else ()
        photos.append(_single(tuple(photo for photo in found if _may_exist(photo))))
    if not any(each(entry) for entry in photos):
        example = next((path.parent / name for name in names if name), None)
        raise FeatureError(
            f"none of the {len(photos):,} items has a photo, for example {example}: check '{template}'"
        )
    return photos


def photos_from_archives(ids: Sequence[str], pattern: str, path: Path) -> list[Photos]:
    """Photos of tar archives whose names begin with an item's id.

    Args:
        ids: of the rows.
        pattern: path of the archives, relative to the table's folder; may have `*`.
        path: the table.

    Raises:
        FeatureError: no archive, or no member that belongs to an item.
    """
    archives = [Path(name) for name in sorted(glob.glob(str(path.parent / pattern)))]
    if not archives:
        raise FeatureError(f"there is no archive {path.parent / pattern}: expected .tar files")
    members = members_by_id(archives)
    known = set(ids)
    # A member belongs to the longest id that its name begins with: B01.0.jpg to B01.0 if there is such.
    owner: dict[Photo, str] = {}
    for name, found in members.items():
        if name in known:
            for member in found:
                if len(name) > len(owner.get(member, "")):
                    owner[member] = name
    if not owner:
        example = next((str(found[0]) for found in members.values()), "nothing")
        raise FeatureError(
            f"no photo in {len(archives)} archives of {path.parent / pattern} is named by an item's id, for "
            f"example {example}: expected names such as {ids[0]}.jpg"
        )
    return [
        _single(tuple(member for member in members.get(name, ()) if owner[member] == name)) for name in ids
    ]


def photos_from_bytes(present: pl.Series, path: Path, column: str) -> list[Photos]:
    """Photos whose bytes stand in the table; they are read again when they are needed.

    Args:
        present: bool per row of the file.
        path: a parquet file.
        column: of bytes, or of structs with a field `bytes`.
    """
    return [Cell(path, column, row) if there else None for row, there in enumerate(present)]


def _names(value: str | Sequence[str] | None, separator: str | None) -> list[str]:
    if value is None:
        return []
    parts = value.split(separator) if isinstance(value, str) and separator else value
    parts = [parts] if isinstance(parts, str) else parts
    return [part.strip() for part in parts if part and part.strip()]


def _may_exist(photo: Photo) -> bool:
    return isinstance(photo, Url) or (isinstance(photo, Path) and photo.is_file())


def _single(photos: tuple[Photo, ...]) -> Photos:
    return photos[0] if len(photos) == 1 else photos or None
