"""The item table: ids as the user writes them, photo paths, texts, titles."""

from __future__ import annotations

import os
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from features.download import Downloads
from features.errors import FeatureError, nearest
from features.item_photos import (
    photos_from_archives,
    photos_from_bytes,
    photos_from_column,
    photos_from_template,
)
from features.probe import parquet_damage
from features.sources import Photos

Strings = npt.NDArray[np.str_]
_ROW = "__row__"  # the number of a row in the file, from 0


@dataclass(frozen=True)
class Items:
    """A shop's items, one entry per row of the table, in its order.

    Attributes:
        ids: the user's ids, unique `[I]`.
        photos: where each photo should be, None where an item has none; None as a whole if photos were not
            asked for.
        texts: what a text encoder gets, None where an item has no text; None as a whole if texts were not
            asked for.
        titles: names to show to people (the id where the title is empty), or None.
        path: the table.
        duplicates: rows left out because their id had appeared before (only with `duplicate_items="first"`).
    """

    ids: Strings
    photos: Sequence[Photos] | None
    texts: list[str | None] | None
    titles: list[str] | None
    path: Path
    duplicates: int = 0

    def __len__(self) -> int:
        return len(self.ids)


def read_items(
    path: str | os.PathLike[str],
    *,
    id_column: str = "item_id",
    image_column: str | None = None,
    image_path: str | None = None,
    image_separator: str | None = None,
    image_archives: str | None = None,
    text_columns: Sequence[str] = (),
    text_template: str | None = None,
    title_column: str | None = None,
    duplicate_items: Literal["error", "first"] = "error",
    photo_cache: Path = Path("cache/photos"),
) -> Items:
    """Read a table of items.

    Args:
        path: .csv, .tsv (or .tab, .txt: tab separated) or .parquet, with a header.
        id_column: column of the ids; they stay text, "001" is not "1".
        image_column: column with each item's photo: a path relative to the table's folder, a pattern such as
            `B01_*.jpg`, an address (http, https), or the bytes themselves (parquet); a list of them in
            parquet; empty where there is no photo. Several photos of an item are averaged.
        image_path: instead of `image_column`, one path for all with columns in braces, such as
            `posters/{movie_id}.jpg` or `photos/{item_id}/*.jpg`, relative to the table's folder; an item
            whose file is absent has no photo.
        image_separator: what stands between several photos in one cell of `image_column`, such as `|`.
        image_archives: instead, tar archives (WebDataset shards) such as `shards/*.tar`, whose files are
            named by the item's id: `B01.jpg`, `B01.0.jpg` or `B01/front.jpg`.
        text_columns: columns whose texts are joined by ". ", empty ones skipped.
        text_template: instead of joining, one text for all with columns in braces, such as `{title}, a
            {genre}`; an item with all of the columns empty has no text.
        title_column: column with names to show to people.
        duplicate_items: `error`: an id that appears twice is refused; `first`: its first row is kept.
        photo_cache: folder that photos from the web are kept in.

    Returns:
        The items in the table's order.

    Raises:
        FeatureError: missing, empty or unreadable file; missing column; empty or repeated ids; no photo found
            at all.
    """
    path = Path(path)
    frame, photo_column = _read_table(path, image_column)
    given = {"image_column": image_column, "image_path": image_path, "image_archives": image_archives}
    if len(named := [name for name, value in given.items() if value]) > 1:
        raise FeatureError(
            f"both {' and '.join(named)} are given; photos come from one of them: drop the other"
        )
    _check_columns(
        frame,
        path,
        id_column,
        image_column if photo_column is None else None,
        title_column,
        *text_columns,
        *_fields(image_path),
        *_fields(text_template),
    )
    frame, duplicates = _unique_ids(frame, path, id_column, duplicate_items)
    photos: list[Photos] | None = None
    downloads = Downloads(photo_cache)
    if image_column:
        if photo_column is None:
            names = frame.select(_stripped(image_column)).to_series().to_list()
        else:
            names = photo_column.gather(frame[_ROW]).to_list()
        if photo_column is not None and photo_column.dtype == pl.Boolean:
            everything = photos_from_bytes(photo_column, path, image_column)
            photos = [everything[row] for row in frame[_ROW]]
        else:
            photos = photos_from_column(names, path, image_column, image_separator, downloads)
    elif image_path:
        photos = photos_from_template(_fill(frame, image_path, complete=True), path, image_path, downloads)
    elif image_archives:
        photos = photos_from_archives(frame[id_column].to_list(), image_archives, path)
    texts = None
    if text_template:
        texts = _fill(frame, text_template)
    elif text_columns:
        joined = pl.concat_str([_stripped(c) for c in text_columns], separator=". ", ignore_nulls=True)
        texts = frame.select(joined.replace("", None)).to_series().to_list()
    titles = None
    if title_column:
        titles = frame.select(pl.coalesce(_stripped(title_column), pl.col(id_column))).to_series().to_list()
    ids = np.array(frame[id_column].to_list(), dtype=np.str_)
    return Items(ids=ids, photos=photos, texts=texts, titles=titles, path=path, duplicates=duplicates)


def _read_table(path: Path, image_column: str | None) -> tuple[pl.DataFrame, pl.Series | None]:
    """All columns as text, dates and floats of parquet in their usual notation, and the rows' numbers.

    And the column of photos where it is no text: lists of names, or for bytes whether there are any (they
    stay in the file).
    """
    if not path.is_file():
        raise FeatureError(f"no item table at {path}: expected a .csv, .tsv or .parquet file")
    if path.stat().st_size == 0:
        raise FeatureError(f"{path} is empty (0 bytes): expected a table of items with a header line")
    suffix = path.suffix.lower()
    photos = None
    try:
        if suffix == ".parquet":
            if damage := parquet_damage(path, None):
                raise FeatureError(f"{path} cannot be read as a table ({damage}): write it anew")
            schema = pl.read_parquet_schema(path)
            plain = [name for name, kind in schema.items() if not (kind.is_nested() or kind == pl.Binary)]
            frame = pl.read_parquet(path, columns=plain)
            if image_column in schema and image_column not in plain:
                photos = _photo_column(path, image_column, schema[image_column])
        elif suffix in (".csv", ".tsv", ".tab", ".txt"):
            separator = "," if suffix == ".csv" else "\t"
            frame = pl.read_csv(path, separator=separator, infer_schema=False)
        else:
            raise FeatureError(f"{path} ends in '{path.suffix}': item tables are .csv, .tsv or .parquet")
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise FeatureError(
            f"{path} cannot be read as a table ({reason}): check separator, quotes and UTF-8"
        ) from error
    if any("\ufffd" in name or "\0" in name for name in frame.columns):
        raise FeatureError(f"{path}: the header is not UTF-8 text; save the file as UTF-8")
    if frame.height == 0:
        raise FeatureError(f"{path} has a header but no rows: expected one row per item")
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    # pandas makes ids with gaps floats: 7.0 is 7 again
    whole = [name for name in floats if (frame[name].drop_nulls() % 1 == 0).all()]
    frame = frame.with_columns(pl.col(whole).cast(pl.Int64)).with_columns(pl.all().cast(pl.String))
    return frame.drop(_ROW, strict=False).with_row_index(_ROW), photos


def _photo_column(path: Path, column: str, kind: pl.DataType) -> pl.Series:
    """Lists of names as they are; of bytes, alone or in a struct, only whether there are any."""
    value, inner = pl.col(column), getattr(kind, "inner", None)
    if inner == pl.String:
        return pl.read_parquet(path, columns=[column]).to_series()
    if isinstance(kind, pl.Struct) and any(part.name == "bytes" for part in kind.fields):
        value = value.struct.field("bytes")
    elif kind != pl.Binary:
        raise FeatureError(f"{path}: column '{column}' holds {kind}: expected text, lists of text, or bytes")
    return pl.scan_parquet(path).select(value.is_not_null() & (value.bin.size() > 0)).collect().to_series()


def _check_columns(frame: pl.DataFrame, path: Path, *columns: str | None) -> None:
    for column in columns:
        if column is not None and column not in frame.columns:
            raise FeatureError(
                f"{path} has no column '{column}'{nearest(column, set(frame.columns) - {_ROW})}"
            )


def _unique_ids(
    frame: pl.DataFrame, path: Path, id_column: str, duplicate_items: Literal["error", "first"]
) -> tuple[pl.DataFrame, int]:
    empty = frame[id_column].is_null() | (frame[id_column] == "")
    if empty.any():
        row = int(empty.arg_max() or 0)
        raise FeatureError(
            f"{path}: row {row + 1} has no '{id_column}' ({empty.sum()} such rows): every item needs an id"
        )
    repeated = ~frame[id_column].is_first_distinct()
    count = int(repeated.sum())
    if count and duplicate_items == "error":
        row = int(repeated.arg_max() or 0)
        value = frame[id_column][row]
        first = int((frame[id_column] == value).arg_max() or 0)
        raise FeatureError(
            f"{path}: id '{value}' is in rows {first + 1} and {row + 1} of column '{id_column}' "
            f"({count} repeated rows in all): make ids unique or set duplicate_items to 'first'"
        )
    return frame.filter(~repeated), count


def _stripped(column: str) -> pl.Expr:
    """A column without blanks around its texts; empty ones are null."""
    text = pl.col(column).str.strip_chars()
    return pl.when(text != "").then(text)


def _fields(template: str | None) -> list[str]:
    """Columns named in a template, in order."""
    if template is None:
        return []
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise FeatureError(
            f"'{template}' is not a template ({error}): write columns in braces, {{title}}"
        ) from error
    if not fields:
        raise FeatureError(f"'{template}' names no column: write columns in braces, for example {{title}}")
    return fields


def _fill(frame: pl.DataFrame, template: str, *, complete: bool = False) -> list[str | None]:
    """Fill a template in every row; null where all of its columns are empty (`complete`: any of them)."""
    pieces: list[pl.Expr] = []
    for literal, field, _, _ in string.Formatter().parse(template):
        pieces.append(pl.lit(literal))
        if field is not None:
            pieces.append(_stripped(field) if complete else _stripped(field).fill_null(""))
    text = pl.concat_str(pieces)
    if not complete:
        some = pl.any_horizontal(
            [_stripped(field).is_not_null() for field in dict.fromkeys(_fields(template))]
        )
        text = pl.when(some).then(text.str.strip_chars())
    return frame.select(text).to_series().to_list()
