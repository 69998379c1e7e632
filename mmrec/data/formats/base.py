"""What a dataset is between two layouts, and what becomes of rows that cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from features.store import FeatureStore
from mmrec.errors import DataError

log = logging.getLogger("mmrec")

SHOWN = 10  # bad rows of each kind that are shown
LABELS = ("train", "valid", "test")


@dataclass(frozen=True)
class Exchange:
    """A dataset on its way from one layout to another; tables are lazy, so that they stream.

    Attributes:
        clicks: `user`, `item` (String), and where there are any `rating`, `time` (Float64) and `label` (Int8,
            0 train, 1 valid, 2 test).
        items: `item_id` (String) and further columns of text, or None.
        features: modality -> store.
        photos: folder of photos named by item id, or None.
    """

    clicks: pl.LazyFrame
    items: pl.LazyFrame | None = None
    features: Mapping[str, FeatureStore] = field(default_factory=dict)
    photos: Path | None = None


class BadRows:
    """Counts rows that cannot be used, by kind; shows the first ten of each.

    Args:
        strict: raise at the first kind found instead.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.count: dict[str, int] = {}
        self.lines: dict[str, list[str]] = {}

    def add(self, path: Path, kind: str, count: int, lines: list[tuple[int, str]]) -> None:
        """Take note of bad rows.

        Args:
            path: the file.
            kind: what is wrong with them.
            count: how many.
            lines: the first of them: line number from 1, and what stands there.

        Raises:
            DataError: in strict mode.
        """
        if count == 0:
            return
        shown = [
            f"line {line}: {text[:80]!r}" for line, text in lines[: SHOWN - len(self.lines.get(kind, []))]
        ]
        if self.strict:
            raise DataError(
                f"{path}: {kind} ({count:,} such rows), {shown[0]}; mend it or leave out --strict"
            )
        self.count[kind] = self.count.get(kind, 0) + count
        self.lines.setdefault(kind, []).extend(f"{path.name}, {line}" for line in shown)

    def report(self) -> None:
        """Log what was skipped."""
        for kind, count in self.count.items():
            log.warning("skipped %s rows: %s", f"{count:,}", kind)
            for line in self.lines[kind]:
                log.warning("  %s", line)


def checked(
    table: pl.LazyFrame, path: Path, bad: BadRows, *, first_line: int, numbers: Mapping[str, str]
) -> pl.LazyFrame:
    """Clicks with usable rows only.

    Args:
        table: columns of text, `user` and `item` among them.
        path: for the report.
        bad: takes note of the others.
        first_line: number of the first row's line.
        numbers: column -> what it is called in the report; they become Float64.

    Raises:
        DataError: in strict mode, or when no row is left.
    """
    rows = table.with_row_index("_line", offset=first_line)
    text = pl.concat_str(pl.all().exclude("_line").cast(pl.String).fill_null(""), separator=" | ")
    kinds = {f"no {role}": pl.col(role).is_null() | (pl.col(role) == "") for role in ("user", "item")}
    for column, name in numbers.items():
        value = pl.col(column).cast(pl.Float64, strict=False)
        kinds[f"{name} is not a number"] = value.is_null() | ~value.is_finite()
    wrong, first_kind = pl.lit(False), {}
    for kind, condition in kinds.items():  # a row counts once, by the first thing that is wrong with it
        first_kind[kind] = condition & ~wrong
        wrong = wrong | condition
    # one pass over the file where all is well, and it is the only one but for the conversion itself
    sums = [condition.sum().alias(kind) for kind, condition in first_kind.items()]
    counts = rows.select(pl.len().alias("_rows"), *sums).collect(engine="streaming").row(0, named=True)
    for kind, condition in first_kind.items():
        if counts[kind]:
            first = rows.filter(condition).select("_line", text.alias("_text")).head(SHOWN).collect()
            bad.add(path, kind, counts[kind], [(int(line), str(what)) for line, what in first.iter_rows()])
    kept = rows.filter(~wrong).drop("_line")
    if sum(counts[kind] for kind in kinds) == counts["_rows"]:
        raise DataError(f"{path}: no row can be used; the first problems: {list(bad.count)[:3]}")
    return kept.with_columns(pl.col(list(numbers)).cast(pl.Float64))
