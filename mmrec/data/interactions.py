"""Interactions: who clicked, bought or rated what; read from the usual files and cleaned.

The frame: ``user`` and ``item`` (String), and where the file has them ``rating`` (Float64), ``time``
(Float64) and ``label`` (Int8, 0 train, 1 valid, 2 test); one row per interaction.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl

from mmrec.data.columns import find_column, read_ids, read_labels, read_numbers, read_times
from mmrec.data.tables import place, read_columns, read_header, table_format
from mmrec.errors import DataError


def read_interactions(
    path: str | Path,
    *,
    user_column: str | None = None,
    item_column: str | None = None,
    rating_column: str | None = None,
    time_column: str | None = None,
    label_column: str | None = None,
) -> pl.DataFrame:
    """Read interactions from a file; its rows keep their order.

    The name of the file says its format: ``.csv`` (commas), ``.tsv`` (tabs), MMRec or RecBole ``.inter``
    (tabs, no quoting, ``user_id:token`` headers too), each also gzipped with ``.gz`` behind; ``.parquet``;
    MovieLens ``u.data`` (tabs, no header) and ``ratings.dat`` (``::``, no header), whose columns are called
    user, item, rating, time.

    A column left at None is found by its usual names; case, spaces, ``_`` and ``-`` do not matter:

    * user: user, customer, visitor, reviewer, u; each also with ``id`` behind
    * item: item, product, movie, article, asin, book, song, track, video, wine, sku, i; each also with ``id``
    * rating: rating, score, stars
    * time: time, timestamp, date, datetime, unix_time, created_at
    * label: x_label, label, split

    Ids are text exactly as written (``001`` stays ``001``). Times are numbers, taken as they are, or ISO
    dates, which become seconds since 1970. Labels are 0, 1, 2, or the words train, valid, test. Blank lines
    are skipped. In errors rows are counted from 1, the header not counted.

    Args:
        path: the file.
        user_column: column of user ids; found by its usual names where not given.
        item_column: column of item ids; found by its usual names where not given.
        rating_column: column of ratings; found where not given; an empty text leaves it unread.
        time_column: column of times; found where not given; an empty text leaves it unread.
        label_column: column of split labels; found where not given; an empty text leaves it unread.

    Returns:
        Frame with columns user, item, and those of rating, time, label that the file has.

    Raises:
        DataError: one line, whatever is wrong with the file, its columns or its cells.
    """
    path = Path(path)
    form = table_format(path)
    names = read_header(path, form)
    asked = {"user": user_column, "item": item_column, "rating": rating_column, "time": time_column}
    asked["label"] = label_column
    found = {role: find_column(path, names, role, name) for role, name in asked.items()}
    chosen = {role: at for role, at in found.items() if at is not None}
    if len(set(chosen.values())) < len(chosen):
        clash = ", ".join(f"{role}={names[at]!r}" for role, at in chosen.items())
        raise DataError(f"{place(path)}: one column cannot play two roles ({clash}); name another column")
    raw = read_columns(path, form, list(chosen.values()))
    rows = raw["row"]
    columns: list[pl.Series] = []
    for n, role in enumerate(chosen):
        cells = raw[f"c{n}"]
        if role in ("user", "item"):
            column = read_ids(path, role, cells, rows)
        elif role == "rating":
            column = read_numbers(path, role, cells, rows)
        else:
            column = read_times(path, cells, rows) if role == "time" else read_labels(path, cells, rows)
        columns.append(column.alias(role))
    return pl.DataFrame(columns)


def keep_rated(frame: pl.DataFrame, min_rating: float) -> pl.DataFrame:
    """Keep the interactions with a rating of at least `min_rating`.

    Args:
        frame: interactions, as from `read_interactions`.
        min_rating: the lowest rating that counts as liking.

    Raises:
        DataError: no rating column, a threshold that is not a number, or nothing left.
    """
    if "rating" not in frame.columns:
        raise DataError(
            f"min_rating {min_rating:g} needs a rating column; set rating_column or leave min_rating out"
        )
    if math.isnan(min_rating):
        raise DataError("min_rating is not a number; expected a rating such as 4.0")
    kept = frame.filter(pl.col("rating") >= min_rating)
    if kept.is_empty():
        raise DataError(
            f"no interaction has a rating of {min_rating:g} or more "
            f"(highest found: {frame['rating'].max()!r}); lower min_rating"
        )
    return kept


def drop_repeats(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Keep one row of each user-item pair: the latest by time; without times, or where times tie, the first.

    Args:
        frame: interactions, as from `read_interactions`.

    Returns:
        The kept rows in their order, and how many rows were dropped.
    """
    numbered = frame.with_row_index("_row")
    if "time" in frame.columns:
        numbered = numbered.sort("time", "_row", descending=[True, False])
    kept = numbered.unique(["user", "item"], keep="first", maintain_order=True).sort("_row").drop("_row")
    return kept, frame.height - kept.height


def k_core(frame: pl.DataFrame, k: int) -> pl.DataFrame:
    """Drop users and items with fewer than `k` interactions, again and again until all have at least `k`.

    What is left is the largest such part, so the order of dropping does not matter. Repeated pairs count each
    time: call `drop_repeats` first where they should not.

    Args:
        frame: interactions, as from `read_interactions`.
        k: the least number of interactions of each user and of each item; 0 or less keeps everything.

    Returns:
        The kept rows in their order.

    Raises:
        DataError: nothing is left.
    """
    if k <= 0:
        return frame
    users = frame["user"].rank("dense").to_numpy().astype(np.int64) - 1
    items = frame["item"].rank("dense").to_numpy().astype(np.int64) - 1
    alive = np.arange(frame.height)
    while alive.size:
        u, i = users[alive], items[alive]
        keep = (np.bincount(u)[u] >= k) & (np.bincount(i)[i] >= k)
        if keep.all():
            break
        alive = alive[keep]
    if not alive.size:
        raise DataError(
            f"the {k}-core of {frame.height} interactions is empty: nobody keeps {k} of them; lower k_core"
        )
    return frame[alive]
