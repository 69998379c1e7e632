"""Raw tables: a file becomes a frame of the wanted columns, or one line that says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

import polars as pl
from polars.exceptions import NoDataError, PanicException, PolarsError

from features.probe import parquet_damage
from mmrec.errors import DataError

# PanicException is not an Exception; a damaged parquet file can raise it, and it must not end in a trace.
_READING_ERRORS = (PolarsError, PanicException, OSError, ValueError, OverflowError)
_Result = TypeVar("_Result")
_MOVIELENS_COLUMNS = ("user", "item", "rating", "time")


@dataclass(frozen=True)
class TableFormat:
    """How one kind of file is laid out.

    Args:
        separator: what stands between two cells; empty for parquet.
        quote_char: what encloses a cell that holds separators, or None where quotes are ordinary letters.
        names: the column names of a file without a header, or None where the first line names the columns.
    """

    separator: str
    quote_char: Literal['"'] | None = None
    names: tuple[str, ...] | None = None


_FORMATS = {
    ".csv": TableFormat(",", '"'),
    ".tsv": TableFormat("\t", '"'),
    ".inter": TableFormat("\t"),
    ".parquet": TableFormat(""),
    "u.data": TableFormat("\t", names=_MOVIELENS_COLUMNS),
    "ratings.dat": TableFormat("::", names=_MOVIELENS_COLUMNS),
}


def show(value: object) -> str:
    """Text from a file, fit for one line: quoted, control characters escaped, at most 40 characters."""
    text = str(value)
    return repr(text if len(text) <= 40 else text[:37] + "...")


def place(path: Path) -> str:
    """A path for the start of an error: as it is, unless it would break the line."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def table_format(path: Path) -> TableFormat:
    """Format of a file, by its name.

    Args:
        path: where the table lies; ``.csv.gz`` counts as ``.csv``.

    Raises:
        DataError: no such file, a folder, an empty file, or a name that belongs to no known format.
    """
    try:
        if path.is_dir():
            raise DataError(f"{place(path)}: is a folder, expected a file; name the file inside it")
        if not path.is_file():
            raise DataError(f"{place(path)}: no such file; check the path")
        empty = path.stat().st_size == 0
    except (OSError, ValueError) as error:
        raise DataError(f"{place(path)}: cannot be looked at ({_one_line(error)})") from None
    name = path.name.lower().removesuffix(".gz")
    found = _FORMATS.get(name) or _FORMATS.get(Path(name).suffix)
    if found is None or (found.separator == "" and path.name.lower().endswith(".gz")):
        raise DataError(
            f"{place(path)}: unknown format {show(''.join(path.suffixes[-2:]) or path.name)}; "
            "expected *.csv, *.tsv, *.inter (each also with .gz behind), *.parquet, u.data or ratings.dat"
        )
    if empty:
        raise DataError(f"{place(path)}: the file is empty (0 bytes); expected a table of interactions")
    return found


def read_header(path: Path, form: TableFormat) -> list[str]:
    """Column names of a table, as written in the file and in its order.

    Args:
        path: where the table lies.
        form: what `table_format` said of it.

    Raises:
        DataError: the file cannot be read as this format.
    """
    if form.names is not None:
        return list(form.names)
    if form.separator == "":
        _refuse_damaged(path)
        return _guarded(path, lambda: pl.scan_parquet(path, glob=False).collect_schema().names())
    names = _guarded(path, lambda: _scan_text(path, form).collect_schema().names())
    # polars renames the second of two equal names; the clash must be seen where the columns are chosen.
    plain = [re.sub(r"_duplicated_\d+$", "", name) for name in names]
    names = [base if base in names else name for name, base in zip(names, plain, strict=True)]
    if any("\ufffd" in name or "\0" in name for name in names):
        raise DataError(f"{place(path)}: the header is not UTF-8 text; save the file as UTF-8")
    return names


def read_columns(path: Path, form: TableFormat, positions: Sequence[int]) -> pl.DataFrame:
    """Chosen columns of a table, as ``c0``, ``c1``, ... in the order asked for, and ``row``, counted from 1.

    Text formats give text; empty cells are null and blank lines are left out (they keep their row number).

    Args:
        path: where the table lies.
        form: what `table_format` said of it.
        positions: positions in the header of the columns to read.

    Raises:
        DataError: damaged file, undecodable bytes, a row with more cells than the header, or no rows.
    """
    if form.separator == "":
        _refuse_damaged(path, positions)
        frame = _guarded(path, lambda: _select(pl.scan_parquet(path, glob=False), positions))
    else:
        frame = _guarded(path, lambda: _read_text(path, form, positions))
    if frame.is_empty():
        raise DataError(f"{place(path)}: the table has no rows; expected at least one interaction")
    return frame


def _select(lazy: pl.LazyFrame, positions: Sequence[int], *more: pl.Expr) -> pl.DataFrame:
    names = lazy.collect_schema().names()
    wanted = [pl.col(names[at]).alias(f"c{n}") for n, at in enumerate(positions)]
    return lazy.select(*wanted, *more).collect().with_row_index("row", offset=1)


def _read_text(path: Path, form: TableFormat, positions: Sequence[int]) -> pl.DataFrame:
    lazy = _scan_text(path, form)
    if form.names is not None:
        _check_headerless(path, form, lazy)
    blank = pl.all_horizontal(pl.all().is_null()).alias("blank")
    frame = _select(lazy, [at * len(form.separator) for at in positions], blank)
    return frame.filter(~pl.col("blank")).drop("blank")


def _scan_text(path: Path, form: TableFormat) -> pl.LazyFrame:
    return pl.scan_csv(
        path,
        separator=form.separator[0],
        quote_char=form.quote_char,
        has_header=form.names is None,
        infer_schema=False,
        glob=False,
    )


def _check_headerless(path: Path, form: TableFormat, lazy: pl.LazyFrame) -> None:
    """Without a header the cells must be counted; `::` is read as two `:` with nothing between them."""
    width = len(form.separator)
    names = lazy.collect_schema().names()
    between = [name for at, name in enumerate(names) if at % width]
    if len(names) != (len(_MOVIELENS_COLUMNS) - 1) * width + 1 or (
        between and lazy.select(pl.any_horizontal(pl.col(between).is_not_null()).any()).collect().item()
    ):
        cells = show(form.separator.join(_MOVIELENS_COLUMNS))
        raise DataError(
            f"{place(path)}: expected four cells on every line, {cells}; rename or convert it to CSV"
        )


def _refuse_damaged(path: Path, positions: Sequence[int] = ()) -> None:
    damage = _guarded(path, lambda: parquet_damage(path, positions))
    if damage:
        raise DataError(f"{place(path)}: {_unreadable(path, damage)}")


def _guarded(path: Path, action: Callable[[], _Result]) -> _Result:
    try:
        return action()
    except _READING_ERRORS as error:
        _explain(path, error)


def _explain(path: Path, error: BaseException) -> NoReturn:
    text = _one_line(error)
    if isinstance(error, NoDataError):
        text = "the file holds no table; expected a header and rows"
    elif "utf-8" in text.lower() or "utf8" in text.lower():
        text = "the file is not UTF-8 text; save it as UTF-8"
    elif "found more fields" in text:
        text = "a row has more cells than the header; check the separator and the quotes"
    elif "could not parse" in text:
        text = "a quoted cell never ends; check the quotes"
    else:
        text = _unreadable(path, text)
    raise DataError(f"{place(path)}: {text}") from None


def _unreadable(path: Path, why: str) -> str:
    tidy = "".join(letter if letter.isprintable() else "?" for letter in why[:160])
    return f"cannot be read as {show(path.suffix)} ({tidy}); check the file, or make it again"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
