"""`RecData`: one dataset, split and joined, with its test split sealed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch
from torch import Tensor

from features.items import Items
from mmrec.data.ids import IdMap
from mmrec.data.interactions import drop_repeats, k_core, keep_rated, read_interactions
from mmrec.data.split import TEST, TRAIN, VALID, SplitMethod, split
from mmrec.errors import DataError
from mmrec.graph.view import GraphView

if TYPE_CHECKING:
    from features.store import FeatureStore


class SealedSplit:
    """The test clicks, which can be looked at once.

    Training, stopping and selection have no way to see them: they are given `RecData.train` and
    `RecData.valid`.
    """

    def __init__(self, pairs: Tensor) -> None:
        """Seal the clicks, int64 [2, n]."""
        self._pairs: Tensor | None = pairs

    def open(self) -> Tensor:
        """The clicks, int64 [2, n], the first time.

        Raises:
            DataError: every time after the first.
        """
        if self._pairs is None:
            raise DataError(
                "the test split was opened before; it is looked at once, after everything is chosen"
            )
        pairs, self._pairs = self._pairs, None
        return pairs


@dataclass(frozen=True)
class RecData:
    """A dataset as the program works on it. Positions stand for ids: users [0, U), items [0, I).

    Attributes:
        users: ids of users.
        items: ids of items.
        train: what models see: training clicks, features, item graph.
        valid: held-out clicks for choosing and stopping, int64 [2, n].
        test: held-out clicks, sealed.
        titles: a name per item to show to people, or None.
        report: counts of what was read, dropped and joined, for people to read.
    """

    users: IdMap
    items: IdMap
    train: GraphView
    valid: Tensor
    test: SealedSplit
    titles: Sequence[str] | None = None
    report: Mapping[str, int] = field(default_factory=dict)


def load_data(
    interactions: str,
    *,
    user_column: str | None = None,
    item_column: str | None = None,
    rating_column: str | None = None,
    time_column: str | None = None,
    label_column: str | None = None,
    min_rating: float | None = None,
    k_core: int = 0,
    split: SplitMethod = "random",
    split_seed: int = 0,
    valid_ratio: float = 0.1,
    test_ratio: float = 0.1,
    catalogue: bool = True,
    items: Items | None = None,
    root: Path = Path(),
) -> RecData:
    """Read clicks, clean them, number users and items, and split.

    Args:
        interactions: table of clicks (.csv, .tsv, .parquet, MMRec's .inter, MovieLens' u.data), or `demo` for
            the shop that the project makes itself.
        user_column: column of user ids; found by its usual names where not given.
        item_column: column of item ids; found by its usual names where not given.
        rating_column: column of ratings; found where not given; an empty text leaves it unread.
        time_column: column of times; found where not given; an empty text leaves it unread.
        label_column: column of split labels; found where not given; an empty text leaves it unread.
        min_rating: keep interactions rated at least this; default: all.
        k_core: keep users and items with at least this many interactions, repeatedly; 0 keeps all.
        split: `labels` (a column of 0 train, 1 valid, 2 test), `random` (per user, as MMRec makes it),
            `leave_one_out`, `user_time` or `global_time`.
        split_seed: seed of the random splits; apart from the run's seed, so that runs differ in one thing
            at a time.
        valid_ratio: share of interactions held out for validation.
        test_ratio: share of interactions held out for the test.
        catalogue: rank every item of the item table; false ranks only items with an interaction.
        items: the item table, if there is one.
        root: folder that relative paths start from.

    Raises:
        DataError: for files, columns and splits that do not work; one line each.
    """
    path = root / interactions
    frame = read_interactions(
        path,
        user_column=user_column,
        item_column=item_column,
        rating_column=rating_column,
        time_column=time_column,
        label_column=label_column,
    )
    frame, report = _clean(frame, min_rating, k_core, items, path)
    known = items.ids if items is not None and catalogue else None
    frame = _split(frame, split, seed=split_seed, valid_ratio=valid_ratio, test_ratio=test_ratio)
    users = IdMap.from_values(frame["user"])
    item_map = IdMap.from_values(frame["item"], *([known] if known is not None else []))
    pairs = torch.from_numpy(np.stack([users.encode(frame["user"]), item_map.encode(frame["item"])]))
    part = torch.from_numpy(frame["split"].to_numpy().copy())
    train, valid, test = (pairs[:, part == label] for label in (TRAIN, VALID, TEST))
    if not torch.isin(valid[0], train[0]).any():
        raise DataError(
            f"none of the {len(torch.unique(valid[0]))} users of the valid split has a training click, so "
            "that nothing can be chosen; set another data.split"
        )
    report |= _cold(train, valid, test, len(users), len(item_map))
    return RecData(
        users=users,
        items=item_map,
        train=GraphView(num_users=len(users), num_items=len(item_map), edge_index=_sorted(train)),
        valid=_sorted(valid),
        test=SealedSplit(_sorted(test)),
        titles=_titles(items, item_map),
        report=report,
    )


def add_features(data: RecData, stores: Mapping[str, FeatureStore]) -> RecData:
    """The data with features joined to its items by id, never by position.

    Args:
        data: the dataset.
        stores: modality -> store.

    Raises:
        FeatureError: if a store has no row for any of the items, or holds numbers that are not finite.
    """
    features, present = {}, {}
    report = dict(data.report)
    for name, store in stores.items():
        matrix, mask = store.join(data.items.ids)
        features[name], present[name] = torch.from_numpy(matrix), torch.from_numpy(mask)
        report[f"items without {name}"] = int((~mask).sum())
    return replace(data, train=replace(data.train, features=features, present=present), report=report)


def _clean(
    frame: pl.DataFrame, min_rating: float | None, core: int, items: Items | None, path: Path
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The clicks to work on; the core comes last, or what is dropped after it would leave it no core."""
    report = {"rows read": frame.height}
    if min_rating is not None:
        kept = keep_rated(frame, min_rating)
        report[f"rated below {min_rating:g}"] = frame.height - kept.height
        frame = kept
    if items is not None:
        frame, report["clicks on items not in the item table"] = _on_known_items(frame, items, path)
        if items.duplicates:
            report["repeated rows of the item table"] = items.duplicates
    frame, report["repeated pairs"] = drop_repeats(frame)
    if core > 0:
        kept = k_core(frame, core)
        report[f"outside the {core}-core"] = frame.height - kept.height
        frame = kept
    return frame, report


# `load_data` has an option called `split`, so it reaches the function of this name through another.
_split = split


def _on_known_items(frame: pl.DataFrame, items: Items, path: Path) -> tuple[pl.DataFrame, int]:
    kept = frame.filter(pl.col("item").is_in(pl.Series(items.ids.tolist()).implode()))
    if kept.is_empty():
        raise DataError(
            f"{path}: none of its item ids is in {items.path} (clicks: '{frame['item'][0]}', table: "
            f"'{items.ids[0]}'); check items.id_column and data.item_column"
        )
    return kept, frame.height - kept.height


def _cold(train: Tensor, valid: Tensor, test: Tensor, num_users: int, num_items: int) -> dict[str, int]:
    warm_users = torch.bincount(train[0], minlength=num_users) > 0
    warm_items = torch.bincount(train[1], minlength=num_items) > 0
    return {
        "users": num_users,
        "items": num_items,
        "train clicks": train.shape[1],
        "valid clicks": valid.shape[1],
        "test clicks": test.shape[1],
        "cold users (no train click)": int((~warm_users).sum()),
        "cold items (no train click)": int((~warm_items).sum()),
    }


def _sorted(pairs: Tensor) -> Tensor:
    """By user, then item: the order of rows in the file must not matter."""
    size = int(pairs[1].max()) + 1 if pairs.shape[1] else 1
    return pairs[:, torch.argsort(pairs[0] * size + pairs[1])].contiguous()


def _titles(items: Items | None, item_map: IdMap) -> list[str] | None:
    if items is None or items.titles is None:
        return None
    names = dict(zip(items.ids.tolist(), items.titles, strict=True))
    return [names.get(item, item) for item in item_map.ids.tolist()]
