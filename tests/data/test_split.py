"""Splits: MMRec's counts, exact hand cases, and properties that hold whatever the data."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec.data.interactions import read_interactions
from mmrec.data.split import SplitMethod, held_out_counts, split
from mmrec.errors import ConfigError, DataError


def clicks(counts: dict[str, int], times: bool = True) -> pl.DataFrame:
    """`counts[user]` different items for each user; item i0 is the user's earliest, i1 the next, ..."""
    rows = [(user, f"i{n}", float(n)) for user, count in counts.items() for n in range(count)]
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return frame if times else frame.drop("time")


def parts_of(frame: pl.DataFrame, user: str) -> tuple[int, int, int]:
    parts = frame.filter(pl.col("user") == user)["split"].to_list()
    return parts.count(0), parts.count(1), parts.count(2)


def items_of(frame: pl.DataFrame, user: str, part: int) -> set[str]:
    return set(frame.filter((pl.col("user") == user) & (pl.col("split") == part))["item"])


def times_of(frame: pl.DataFrame) -> list[list[float]]:
    return [frame.filter(pl.col("split") == part)["time"].to_list() for part in range(3)]


def mmrec_counts(n: int) -> tuple[int, int]:
    """MMRec's rule as its notebook has it: (valid, test) of a user with n interactions."""
    if n < 10:
        return 1, 1
    held = math.floor(0.2 * n)
    return held // 2, held - held // 2


def test_default_counts_are_mmrecs() -> None:
    counts = np.arange(3, 5000)
    valid, test = held_out_counts(counts)
    assert list(zip(valid.tolist(), test.tolist(), strict=True)) == [mmrec_counts(n) for n in counts.tolist()]


@given(n=st.integers(0, 2000), valid_percent=st.integers(1, 98), test_percent=st.integers(1, 98))
def test_counts_leave_something_for_each_part(n: int, valid_percent: int, test_percent: int) -> None:
    if valid_percent + test_percent > 99:
        valid_percent, test_percent = valid_percent // 2, test_percent // 2
    valid_percent, test_percent = max(valid_percent, 1), max(test_percent, 1)
    valid, test = (
        int(part[0]) for part in held_out_counts(np.array([n]), valid_percent / 100, test_percent / 100)
    )
    if n < 3:
        assert (valid, test) == (0, 0)
        return
    # The rule in whole numbers, where nothing rounds.
    held = min(max((valid_percent + test_percent) * n // 100, 2), n - 1)
    expected = min(max(held * valid_percent // (valid_percent + test_percent), 1), held - 1)
    assert (valid, test) == (expected, held - expected)
    assert n - valid - test >= 1


@pytest.mark.parametrize("method", ["random", "user_time", "leave_one_out"])
def test_hand_counts(method: SplitMethod) -> None:
    frame = split(clicks({"one": 1, "two": 2, "three": 3, "nine": 9, "ten": 10, "thirty": 30}), method)
    assert parts_of(frame, "one") == (1, 0, 0)
    assert parts_of(frame, "two") == (2, 0, 0)
    assert parts_of(frame, "three") == (1, 1, 1)
    assert parts_of(frame, "nine") == (7, 1, 1)
    assert parts_of(frame, "ten") == (8, 1, 1)
    assert parts_of(frame, "thirty") == ((28, 1, 1) if method == "leave_one_out" else (24, 3, 3))
    assert frame.schema["split"] == pl.Int8


def test_time_splits_by_hand() -> None:
    data = clicks({"a": 15, "b": 3})
    by_user = split(data, "user_time", valid_ratio=0.2, test_ratio=0.2)
    assert items_of(by_user, "a", 1) == {"i9", "i10", "i11"}
    assert items_of(by_user, "a", 2) == {"i12", "i13", "i14"}
    assert (items_of(by_user, "b", 1), items_of(by_user, "b", 2)) == ({"i1"}, {"i2"})
    last = split(data, "leave_one_out")
    assert (items_of(last, "a", 1), items_of(last, "a", 2)) == ({"i13"}, {"i14"})


def test_global_time_by_hand() -> None:
    times = [5.0, 0.0, 9.0, 1.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0]
    data = pl.DataFrame(
        {"user": [f"u{n % 3}" for n in range(10)], "item": [str(n) for n in range(10)], "time": times}
    )
    done = split(data, "global_time", valid_ratio=0.2, test_ratio=0.3)
    assert done.sort("time")["split"].to_list() == [0, 0, 0, 0, 0, 1, 1, 2, 2, 2]


def test_global_time_never_parts_equal_times() -> None:
    times = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 8.0, 8.0, 9.0]
    data = pl.DataFrame({"user": ["u"] * 11, "item": [str(n) for n in range(11)], "time": times})
    done = split(data, "global_time", valid_ratio=0.2, test_ratio=0.2)  # cuts at places 6 (6.0) and 8 (8.0)
    assert done.sort("time")["split"].to_list() == [0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2]


def test_equal_times_are_ordered_by_item() -> None:
    data = pl.DataFrame({"user": ["u"] * 4, "item": ["d", "b", "c", "a"], "time": [1.0] * 4})
    done = split(data, "leave_one_out")
    assert done.select("item", "split").rows() == [("a", 0), ("b", 0), ("c", 1), ("d", 2)]


def test_repeated_pairs_come_back_in_the_order_of_the_other_columns_names() -> None:
    rows = [
        ("u", "a", 2.0, 1.0, 0),
        ("u", "a", 1.0, 3.0, 0),
        ("u", "a", 1.0, 2.0, 1),
        ("u", "a", 1.0, 2.0, 0),
    ]
    data = pl.DataFrame(rows, schema=["user", "item", "time", "rating", "label"], orient="row")
    expected = [(0, 1.0, 2.0), (0, 2.0, 1.0), (0, 3.0, 1.0), (1, 2.0, 1.0)]
    assert split(data, "user_time").select("label", "rating", "time").rows() == expected


def test_labels() -> None:
    data = pl.DataFrame({"user": ["b", "a", "a"], "item": ["x", "y", "x"], "label": [2, 1, 0]})
    assert split(data, "labels").select("user", "item", "split").rows() == [
        ("a", "x", 0),
        ("a", "y", 1),
        ("b", "x", 2),
    ]


def test_random_depends_on_the_seed_and_reaches_every_row() -> None:
    data = clicks({"a": 10}, times=False)
    seen_test, seen_valid = set[str](), set[str]()
    for seed in range(200):
        done = split(data, "random", seed=seed)
        seen_valid |= items_of(done, "a", 1)
        seen_test |= items_of(done, "a", 2)
    assert seen_test == seen_valid == {f"i{n}" for n in range(10)}


def test_leave_one_out_without_times_draws_from_the_seed() -> None:
    data = clicks({"a": 10, "b": 2}, times=False)
    held = {tuple(items_of(split(data, "leave_one_out", seed=seed), "a", 2)) for seed in range(100)}
    assert len(held) == 10
    assert parts_of(split(data, "leave_one_out"), "b") == (2, 0, 0)


@pytest.mark.parametrize(
    ("method", "data", "part"),
    [
        ("labels", clicks({"a": 5}), "needs a label column, found user, item, time; set label_column"),
        ("user_time", clicks({"a": 5}, times=False), "needs a time column"),
        ("global_time", clicks({"a": 5}, times=False), "needs a time column"),
        ("random", clicks({"a": 2, "b": 1}), r"leaves no valid rows \(3 train, 0 valid, 0 test of 3\)"),
        ("leave_one_out", clicks({"a": 2}), "leaves no valid rows"),
        ("user_time", clicks({"a": 2}), "leaves no valid rows"),
        ("random", clicks({}), "leaves no train rows"),
        ("user_time", clicks({}), "leaves no train rows"),
        ("global_time", clicks({}), "leaves no train rows"),
        (
            "global_time",
            clicks({"a": 10}).with_columns(time=pl.lit(1.0)),
            "leaves no train rows .*change valid_ratio",
        ),
        ("global_time", clicks({"a": 4, "b": 4}), "leaves no valid rows"),
        ("labels", clicks({"a": 2}).with_columns(label=pl.Series([1, 2])), "leaves no train rows"),
        ("labels", clicks({"a": 2}).with_columns(label=pl.Series([0, 2])), "leaves no valid rows"),
        ("labels", clicks({"a": 2}).with_columns(label=pl.Series([0, 1])), "leaves no test rows"),
    ],
)
def test_splits_that_cannot_be_made(method: SplitMethod, data: pl.DataFrame, part: str) -> None:
    with pytest.raises(DataError, match=part) as caught:
        split(data, method)
    assert str(caught.value).isprintable()


def test_bad_options() -> None:
    data = clicks({"a": 10})
    with pytest.raises(ConfigError, match=r"unknown split method 'ramdom'; did you mean 'random'\?"):
        split(data, "ramdom")  # type: ignore[arg-type]
    for valid, test in [(0.0, 0.1), (0.1, 0.0), (0.5, 0.5), (float("nan"), 0.1), (-0.1, 0.5)]:
        with pytest.raises(ConfigError, match="both above 0 and their sum below 1"):
            split(data, "random", valid_ratio=valid, test_ratio=test)
    with pytest.raises(ConfigError, match="seed -1"):
        split(data, "random", seed=-1)


def test_a_split_column_of_before_is_replaced() -> None:
    data = clicks({"a": 10})
    once = split(data, "random", seed=3)
    assert split(once, "random", seed=3).equals(once)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=80
    ),
    method=st.sampled_from(["random", "leave_one_out", "user_time", "global_time"]),
    with_time=st.booleans(),
    seed=st.integers(0, 5),
    order=st.randoms(use_true_random=False),
)
def test_properties(
    rows: list[tuple[int, int, int]], method: SplitMethod, with_time: bool, seed: int, order: random.Random
) -> None:
    schema = {"user": pl.String, "item": pl.String, "time": pl.Float64}
    data = pl.DataFrame([(f"u{u}", f"i{i}", float(t)) for u, i, t in rows], schema=schema, orient="row")
    if not with_time and method in ("random", "leave_one_out"):
        data = data.drop("time")
    try:
        done = split(data, method, seed=seed)
    except DataError:
        assert method == "global_time" or max(data["user"].value_counts()["count"].to_list()) < 3
        return
    # Nothing is lost or made up.
    assert done.drop("split").sort(data.columns).equals(data.sort(data.columns))
    # The order of the rows and of the columns does not matter; another call gives the same.
    shuffled = list(range(data.height))
    order.shuffle(shuffled)
    assert split(data[shuffled], method, seed=seed).equals(done)
    assert split(data.select(reversed(data.columns)), method, seed=seed).select(done.columns).equals(done)
    if method == "global_time":
        train, valid, test = times_of(done)
        assert max(train) < min(valid) <= max(valid) < min(test)
        return
    for (user,), mine in done.group_by("user"):
        expected = (
            (0, 0) if mine.height < 3 else (1, 1) if method == "leave_one_out" else mmrec_counts(mine.height)
        )
        assert parts_of(done, str(user))[1:] == expected
        if "time" in data.columns and method != "random" and mine.height >= 3:
            train, valid, test = times_of(mine)
            assert max(train) <= min(valid) <= max(valid) <= min(test)


def test_real_baby_has_mmrecs_counts_under_our_random_split(shared_data: Path) -> None:
    data = read_interactions(shared_data / "baby" / "baby.inter")
    given_labels = split(data, "labels")
    ours = split(data, "random", seed=1)
    counts = [frame.group_by("user", "split").len().sort("user", "split") for frame in (given_labels, ours)]
    assert counts[0].equals(counts[1])  # every user's counts, not only the 118,551 / 20,559 / 21,682 in all
    assert counts[0]["len"].sum() == 160_792
    agreement = np.mean(given_labels["split"].to_numpy() == ours["split"].to_numpy())
    assert 0.5 < agreement < 0.75  # two unrelated draws; by chance 58 % of the rows agree


def test_real_ml_100k_by_time(shared_data: Path) -> None:
    data = read_interactions(shared_data / "ml-100k" / "u.data")
    last = split(data, "leave_one_out")
    assert last["split"].value_counts().sort("split").rows() == [(0, 98_114), (1, 943), (2, 943)]
    on_line = split(data, "global_time")
    sizes = on_line["split"].value_counts().sort("split")["count"].to_list()
    assert np.allclose(sizes, [80_000, 10_000, 10_000], atol=50)  # equal times stay together
