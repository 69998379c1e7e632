"""Clicks, items and features become one dataset: joined by id, counted, and in an order no file decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from features.errors import FeatureError
from features.items import Items, read_items
from features.store import open_stores, write_store
from mmrec.data.dataset import RecData, SealedSplit, add_features, load_data
from mmrec.errors import DataError
from tests.cases.shop import write_mmrec_layout

ROWS = [  # user, item, rating, time, label
    ("007", "apple", 5, 10, 0),
    ("007", "ü-3", 4, 20, 0),
    ("007", "30", 5, 30, 1),
    ("7", "apple", 5, 11, 0),
    ("7", "30", 2, 21, 0),
    ("7", "kiwi", 4, 31, 2),
    ("new", "kiwi", 5, 12, 1),
    ("new", "apple", 5, 22, 2),
    ("zed", "ü-3", 1, 13, 0),
    ("zed", "unknown", 5, 23, 0),
]
ITEMS = ["kiwi", "apple", "30", "ü-3", "fig"]  # nobody clicked fig; nobody clicked kiwi in training


def write_clicks(folder: Path, rows: list[tuple[Any, ...]]) -> str:
    columns = ["user_id", "item_id", "rating", "timestamp", "x_label"]
    pl.DataFrame(rows, schema=columns, orient="row").write_csv(folder / "clicks.csv")
    return "clicks.csv"


@pytest.fixture
def items(tmp_path: Path) -> Items:
    table = {"item_id": ITEMS, "title": ["Kiwi", "Apple", "", "Über drei", "Fig"]}
    pl.DataFrame(table).write_csv(tmp_path / "items.csv")
    return read_items(tmp_path / "items.csv", title_column="title")


def load(
    folder: Path, items: Items | None = None, rows: list[tuple[Any, ...]] = ROWS, **options: Any
) -> RecData:
    options = {"split": "labels", **options}
    return load_data(write_clicks(folder, rows), items=items, root=folder, **options)


def named(data: RecData, pairs: Tensor) -> list[tuple[str, str]]:
    """Pairs in the users' own ids, in their order."""
    users, items = data.users.decode(pairs[0].numpy()), data.items.decode(pairs[1].numpy())
    return list(zip(users.tolist(), items.tolist(), strict=True))


def wanted(label: int, *, known: list[str] | None = ITEMS) -> set[tuple[str, str]]:
    return {(row[0], row[1]) for row in ROWS if row[4] == label and (known is None or row[1] in known)}


def test_clicks_go_where_their_label_says(tmp_path: Path, items: Items) -> None:
    data = load(tmp_path, items)
    test = data.test.open()
    for pairs, label in ((data.train.edge_index, 0), (data.valid, 1), (test, 2)):
        assert set(named(data, pairs)) == wanted(label)
        assert len(named(data, pairs)) == len(wanted(label))
        assert pairs.dtype == torch.int64
        assert pairs.is_contiguous()
    assert "unknown" not in data.items.ids
    assert sorted(data.users.ids.tolist()) == ["007", "7", "new", "zed"], "007 and 7 are two users"


def test_the_report_counts_what_was_read_dropped_and_is_cold(tmp_path: Path, items: Items) -> None:
    assert load(tmp_path, items).report == {
        "rows read": 10,
        "repeated pairs": 0,
        "clicks on items not in the item table": 1,
        "users": 4,
        "items": 5,
        "train clicks": 5,
        "valid clicks": 2,
        "test clicks": 2,
        "cold users (no train click)": 1,
        "cold items (no train click)": 2,
    }


def test_the_catalogue_decides_which_items_are_ranked(tmp_path: Path, items: Items) -> None:
    whole = load(tmp_path, items)
    assert set(whole.items.ids) == set(ITEMS)
    clicked = load(tmp_path, items, catalogue=False)
    assert set(clicked.items.ids) == set(ITEMS) - {"fig"}
    assert clicked.report["cold items (no train click)"] == 1
    without = load(tmp_path)
    assert set(without.items.ids) == {*ITEMS, "unknown"} - {"fig"}
    assert "clicks on items not in the item table" not in without.report
    assert without.report["train clicks"] == 6


def test_titles_follow_the_ids(tmp_path: Path, items: Items) -> None:
    data = load(tmp_path, items)
    assert data.titles is not None
    names = dict(zip(data.items.ids.tolist(), data.titles, strict=True))
    assert names == {"kiwi": "Kiwi", "apple": "Apple", "30": "30", "ü-3": "Über drei", "fig": "Fig"}
    assert load(tmp_path).titles is None


def test_low_ratings_and_small_cores_are_left_out_and_counted(tmp_path: Path) -> None:
    report = load(tmp_path, min_rating=4, split="leave_one_out").report
    assert report["rated below 4"] == 2
    assert report["rows read"] == 10
    assert report["train clicks"] + report["valid clicks"] + report["test clicks"] == 8
    rows = [(f"u{user}", f"i{item}", 5, user + item, 0) for user in range(4) for item in range(4)]
    data = load(
        tmp_path, rows=[*rows, ("u0", "rare", 5, 1, 0), ("once", "i0", 5, 1, 0)], k_core=3, split="random"
    )
    assert data.report["outside the 3-core"] == 2
    assert set(data.items.ids) == {"i0", "i1", "i2", "i3"}


def test_the_core_is_one_of_the_items_in_the_table(tmp_path: Path) -> None:
    """A user whose clicks are mostly on unknown items must not stay in the core by them."""
    rows = [(f"u{user}", f"i{item}", 5, user + item, 0) for user in range(4) for item in range(4)]
    strange = [("strange", item, 5, 1, 0) for item in ("i0", "x1", "x2", "x3")]
    others = [(f"u{user}", f"x{item}", 5, 1, 0) for user in range(4) for item in (1, 2, 3)]
    pl.DataFrame({"item_id": ["i0", "i1", "i2", "i3"]}).write_csv(tmp_path / "items.csv")
    items = read_items(tmp_path / "items.csv")
    data = load(tmp_path, items, rows=[*rows, *strange, *others], k_core=4, split="random")
    assert data.users.ids.tolist() == ["u0", "u1", "u2", "u3"]
    assert data.report["clicks on items not in the item table"] == 15
    assert data.report["outside the 4-core"] == 1


def test_repeated_rows_of_the_item_table_are_counted(tmp_path: Path) -> None:
    pl.DataFrame({"item_id": [*ITEMS, "kiwi", "fig"]}).write_csv(tmp_path / "items.csv")
    items = read_items(tmp_path / "items.csv", duplicate_items="first")
    assert load(tmp_path, items).report["repeated rows of the item table"] == 2


def test_repeated_pairs_are_counted_and_kept_once(tmp_path: Path, items: Items) -> None:
    data = load(tmp_path, items, rows=[*ROWS, ("007", "apple", 5, 40, 0), ("007", "apple", 5, 50, 0)])
    assert data.report["repeated pairs"] == 2
    assert data.report["train clicks"] == 5


@pytest.mark.parametrize("split", ["labels", "random", "leave_one_out", "user_time", "global_time"])
def test_the_order_of_rows_in_the_files_changes_nothing(split: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    rows: list[tuple[Any, ...]] = [
        (f"u{user}", f"i{item}", 5, int(draw.integers(0, 30)), int(draw.integers(0, 3)))
        for user in range(12)
        for item in range(12)
        if draw.random() < 0.6
    ]
    names = [*sorted({row[1] for row in rows}), "extra"]
    found = []
    for attempt in range(3):
        table = pl.DataFrame({"item_id": names, "title": [f"T {name}" for name in names]})
        table.sample(fraction=1, shuffle=True, seed=attempt).write_csv(tmp_path / "items.csv")
        items = read_items(tmp_path / "items.csv", title_column="title")
        data = load(tmp_path, items, rows=[rows[n] for n in draw.permutation(len(rows))], split=split)
        found.append((data, data.test.open()))
    (first, first_test), *others = found
    for data, test in others:
        assert data.users.ids.tolist() == first.users.ids.tolist()
        assert data.items.ids.tolist() == first.items.ids.tolist()
        assert torch.equal(data.train.edge_index, first.train.edge_index)
        assert torch.equal(data.valid, first.valid)
        assert torch.equal(test, first_test)
        assert data.titles == first.titles
        assert data.report == first.report


def test_clicks_on_other_items_altogether(tmp_path: Path, items: Items) -> None:
    rows = [(user, f"other-{item}", *rest) for user, item, *rest in ROWS]
    with pytest.raises(
        DataError, match=r"clicks\.csv: none of its item ids is in .*items\.csv .*'other-.*'kiwi'"
    ):
        load(tmp_path, items, rows=rows)


def test_a_sealed_split_opens_once() -> None:
    pairs = torch.tensor([[0, 1], [2, 3]])
    sealed = SealedSplit(pairs)
    assert torch.equal(sealed.open(), pairs)
    with pytest.raises(DataError, match="looked at once"):
        sealed.open()


def vectors(names: list[str]) -> np.ndarray:
    """A row that tells its item: the hash of the id."""
    return np.array([[float(sum(name.encode())), float(len(name))] for name in names], dtype=np.float32)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4], [4, 2, 5, 1, 0, 3]])
def test_features_are_joined_by_id_never_by_position(order: list[int], tmp_path: Path, items: Items) -> None:
    names = [[*ITEMS, "not in the shop"][place] for place in order]
    rows = np.array([place for place, name in enumerate(names) if name != "30"])  # 30 has no photo
    blocks = [(rows, vectors(names)[rows])]
    store = write_store(tmp_path / "image", "image", np.array(names), blocks, dict)
    data = add_features(load(tmp_path, items), {"image": store})
    ids = data.items.ids.tolist()
    expected = vectors(ids)
    expected[ids.index("30")] = 0
    assert torch.equal(data.train.features["image"], torch.from_numpy(expected))
    assert data.train.present["image"].tolist() == [name != "30" for name in ids]
    assert data.report["items without image"] == 1
    assert torch.equal(data.train.edge_index, load(tmp_path, items).train.edge_index)


def test_items_that_a_store_lacks_are_missing_not_shifted(tmp_path: Path, items: Items) -> None:
    names = ["ü-3", "apple"]
    store = write_store(tmp_path / "text", "text", np.array(names), [(np.arange(2), vectors(names))], dict)
    data = add_features(load(tmp_path, items), {"text": store})
    for name, row, present in zip(
        data.items.ids.tolist(), data.train.features["text"], data.train.present["text"], strict=True
    ):
        assert bool(present) == (name in names)
        assert row.tolist() == (vectors([name])[0].tolist() if name in names else [0.0, 0.0])
    assert data.report["items without text"] == 3


def test_a_store_for_other_items_is_refused(tmp_path: Path, items: Items) -> None:
    names = ["somebody", "else"]
    store = write_store(tmp_path / "text", "text", np.array(names), [(np.arange(2), vectors(names))], dict)
    with pytest.raises(FeatureError, match="made for other items"):
        add_features(load(tmp_path, items), {"text": store})


def test_mmrecs_layout_goes_by_item_number(tmp_path: Path) -> None:
    rows = [(str(user), str(item), 5, user, (user + item) % 3) for user in range(4) for item in range(12)]
    matrix = np.arange(24, dtype=np.float32).reshape(12, 2) + 1
    stores = open_stores(write_mmrec_layout(tmp_path / "layout", {"image": matrix}))
    data = add_features(load(tmp_path, rows=rows), stores)
    assert data.items.ids.tolist() == [str(number) for number in range(12)], "by value: 2 before 10"
    assert torch.equal(data.train.features["image"], torch.from_numpy(matrix))
    short = open_stores(write_mmrec_layout(tmp_path / "short", {"image": matrix[:11]}))
    with pytest.raises(FeatureError, match=r"11 rows.*for example '11'"):
        add_features(load(tmp_path, rows=rows), short)
