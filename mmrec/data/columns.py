"""Which column of a table holds what, and its cells as ids, numbers, times and split labels."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from mmrec.data.tables import place, show
from mmrec.errors import DataError, nearest

# Longest id kept: numpy stores every id as wide as the longest one, so one broken cell could fill the memory.
MAX_ID_LENGTH = 512
# Compared without case, spaces, `_` and `-`; names of users and items also with `id` behind: `User_ID`.
_USERS = "u user customer visitor reviewer"
_ITEMS = "i item product movie article asin book song track video wine sku"
USUAL_NAMES: dict[str, frozenset[str]] = {
    "user": frozenset(name + end for name in _USERS.split() for end in ("", "id")),
    "item": frozenset(name + end for name in _ITEMS.split() for end in ("", "id")),
    "rating": frozenset(["rating", "score", "stars"]),
    "time": frozenset(["time", "timestamp", "date", "datetime", "unixtime", "createdat"]),
    "label": frozenset(["xlabel", "label", "split"]),
}
_LABEL_WORDS = {"train": 0.0, "valid": 1.0, "val": 1.0, "validation": 1.0, "test": 2.0}
_RECBOLE_TYPE = re.compile(r":(token|token_seq|float|float_seq)$")


def find_column(path: Path, names: Sequence[str], role: str, wanted: str | None) -> int | None:
    """Position of the column that plays a role, or None where an optional one is absent or switched off.

    Args:
        path: the table, for the error.
        names: column names as written in the header; a RecBole type (``user_id:token``) may follow a name.
        role: a key of `USUAL_NAMES`.
        wanted: the column's name; None looks for the usual names; an empty text leaves an optional column
            unread.

    Raises:
        DataError: the named column is absent, a required column is not found, or more than one would do.
    """
    optional = role not in ("user", "item")
    if wanted == "" and optional:
        return None
    bare = [_RECBOLE_TYPE.sub("", name.strip()) for name in names]
    if wanted is not None:
        found = [at for at, name in enumerate(names) if wanted in (name, bare[at])]
        missing = f"no column {show(wanted)} for {role}_column"
    else:
        plain = [re.sub(r"[\s_-]", "", name).lower() for name in bare]
        found = [at for at, name in enumerate(plain) if name in USUAL_NAMES[role]]
        missing = (
            f"no column with a usual name for the {role}; set {role}_column to one of the file's columns"
        )
    if len(found) > 1:
        several = ", ".join(show(names[at]) for at in found[:5])
        raise DataError(
            f"{place(path)}: {len(found)} columns could be the {role} ({several}); set {role}_column to one"
        )
    if not found and (wanted is not None or not optional):
        raise DataError(f"{place(path)}: {missing}{_known(wanted or f'{role}_id', bare)}")
    return found[0] if found else None


def read_ids(path: Path, role: str, values: pl.Series, rows: pl.Series) -> pl.Series:
    """Ids as text, exactly as written (``001`` stays ``001``); integers of a parquet file in decimal.

    Args:
        path: the table, for the error.
        role: ``user`` or ``item``.
        values: the column's cells.
        rows: row number of each cell.

    Raises:
        DataError: an empty id, one of over 512 characters, one with a NUL character, or a column that holds
            no ids.
    """
    kind = values.dtype
    if not (kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        raise DataError(
            f"{place(path)}: the {role} column holds {kind}, expected text or whole numbers; convert it"
        )
    ids = values.cast(pl.String)
    _refuse(path, rows, ids, ids.is_null() | (ids.str.strip_chars() == ""), f"the {role} id is empty")
    _refuse(
        path,
        rows,
        ids,
        ids.str.len_chars() > MAX_ID_LENGTH,
        f"the {role} id has over {MAX_ID_LENGTH} characters",
    )
    _refuse(path, rows, ids, ids.str.contains("\0", literal=True), f"the {role} id holds a NUL character")
    return ids


def read_numbers(path: Path, role: str, values: pl.Series, rows: pl.Series) -> pl.Series:
    """Cells as finite float64; arguments as for `read_ids`.

    Raises:
        DataError: an empty cell, or one that is not a finite number, with its row.
    """
    numbers = _to_numbers(path, role, values)
    _refuse(path, rows, values, ~numbers.is_finite().fill_null(False), f"the {role} is not a number", role)
    return numbers


def read_times(path: Path, values: pl.Series, rows: pl.Series) -> pl.Series:
    """Times as float64: numbers as they are, ISO dates and datetimes as seconds since 1970.

    Dates without a zone are taken as UTC.

    Args:
        path: the table, for the error.
        values: the column's cells: all numbers, or all dates.
        rows: row number of each cell.

    Raises:
        DataError: a cell that is neither (or the other kind than the rest), with its row.
    """
    moments = values
    if values.dtype == pl.String:
        numbers = values.str.strip_chars().cast(pl.Float64, strict=False)
        moments = _parse_moments(values.str.strip_chars())
        if moments.null_count() == len(moments) or numbers.null_count() == 0:
            return read_numbers(path, "time", values, rows)
    elif values.dtype not in (pl.Date, pl.Datetime):
        return read_numbers(path, "time", values, rows)
    _refuse(path, rows, values, moments.is_null(), "the time is not an ISO date as in the other rows", "time")
    return moments.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6


def read_labels(path: Path, values: pl.Series, rows: pl.Series) -> pl.Series:
    """Split labels as int8: 0 or train, 1 or valid (val, validation), 2 or test.

    Args:
        path: the table, for the error.
        values: the column's cells.
        rows: row number of each cell.

    Raises:
        DataError: a label that is none of these, with its row.
    """
    if values.dtype in (pl.String, pl.Categorical, pl.Enum):
        text = values.cast(pl.String).str.strip_chars().str.to_lowercase()
        words = text.replace_strict(_LABEL_WORDS, default=None, return_dtype=pl.Float64)
        numbers = words.fill_null(text.cast(pl.Float64, strict=False))
    else:
        numbers = _to_numbers(path, "label", values)
    bad = ~numbers.is_in([0.0, 1.0, 2.0]).fill_null(False)
    _refuse(path, rows, values, bad, "the label is not 0 (train), 1 (valid) or 2 (test)", "label")
    return numbers.cast(pl.Int8)


def _to_numbers(path: Path, role: str, values: pl.Series) -> pl.Series:
    kind = values.dtype
    if kind == pl.String:
        return values.str.strip_chars().cast(pl.Float64, strict=False)
    if not (kind.is_numeric() or kind == pl.Null):
        raise DataError(f"{place(path)}: the {role} column holds {kind}, expected numbers; convert it")
    return values.cast(pl.Float64)


def _parse_moments(text: pl.Series) -> pl.Series:
    moment = pl.col("text").str.replace(r"^(\d{4}-\d\d-\d\d)T", "${1} ").str.replace(r" ?(Z|UTC)$", "+00:00")
    zoned = moment.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", time_unit="us", strict=False)
    forms = [
        moment.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False),
        moment.str.to_datetime("%Y-%m-%d %H:%M", time_unit="us", strict=False),
        moment.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")),
        zoned.dt.replace_time_zone(None),
    ]
    return text.alias("text").to_frame().select(pl.coalesce(forms)).to_series()


def _refuse(path: Path, rows: pl.Series, values: pl.Series, bad: pl.Series, why: str, role: str = "") -> None:
    """The first bad cell, with its row, becomes the error."""
    if not bad.any():
        return
    at = bad.arg_true()[0]
    cell = f" (found {'nothing' if values[at] is None else show(values[at])})"
    advice = (
        f"correct it, or leave the column out with {role}_column ''" if role else "correct or remove the row"
    )
    more = f", and {bad.sum() - 1} more such rows" if bad.sum() > 1 else ""
    raise DataError(f"{place(path)}: row {rows[at]}: {why}{cell}{more}; {advice}")


def _known(wanted: str, names: Sequence[str]) -> str:
    """The columns found, at most twenty, the nearest first to be kept, each fit for one line."""
    tidy = [name[:40] if name.isprintable() else repr(name)[1:41] for name in names[:1000]]
    if len(tidy) > 20:
        tidy = difflib.get_close_matches(wanted, tidy, n=20, cutoff=0.0)
    return nearest(wanted, tidy)
