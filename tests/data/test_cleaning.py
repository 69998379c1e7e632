"""Cleaning interactions: rating threshold, repeats, and the k-core against a slow loop."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec.data.interactions import drop_repeats, k_core, keep_rated
from mmrec.errors import DataError


def rows(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return frame.rows()


def test_keep_rated() -> None:
    frame = pl.DataFrame({"user": ["a", "b", "c"], "item": ["x", "y", "z"], "rating": [3.9, 4.0, 5.0]})
    assert keep_rated(frame, 4.0)["user"].to_list() == ["b", "c"]
    with pytest.raises(DataError, match=r"no interaction has a rating of 6 or more \(highest found: 5.0\)"):
        keep_rated(frame, 6)
    with pytest.raises(DataError, match="needs a rating column"):
        keep_rated(frame.drop("rating"), 4)
    with pytest.raises(DataError, match="not a number"):
        keep_rated(frame, float("nan"))


def test_drop_repeats_keeps_the_latest_else_the_first() -> None:
    frame = pl.DataFrame(
        {
            "user": ["a", "a", "b", "a", "a"],
            "item": ["x", "x", "x", "x", "y"],
            "rating": [1.0, 2.0, 3.0, 4.0, 5.0],
            "time": [5.0, 9.0, 1.0, 9.0, 0.0],
        }
    )
    kept, dropped = drop_repeats(frame)
    assert dropped == 2
    assert kept["rating"].to_list() == [2.0, 3.0, 5.0]  # 9.0 is the latest; of the two at 9.0 the first
    kept, dropped = drop_repeats(frame.drop("time"))
    assert dropped == 2
    assert kept["rating"].to_list() == [1.0, 3.0, 5.0]


def test_k_core_hand_case() -> None:
    # c holds z up, z is dropped first, then c falls below two, and that leaves the square a, b x x, y.
    pairs = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "y"), ("c", "z")]
    frame = pl.DataFrame(pairs, schema=["user", "item"], orient="row")
    assert rows(k_core(frame, 2)) == pairs[:4]
    assert rows(k_core(frame, 0)) == pairs
    assert rows(k_core(frame, -1)) == pairs
    assert rows(k_core(frame, 1)) == pairs
    with pytest.raises(DataError, match="3-core of 6 interactions is empty"):
        k_core(frame, 3)


def slow_k_core(pairs: list[tuple[int, int]], k: int) -> list[tuple[int, int]]:
    """Drop one poor user or item at a time."""
    while True:
        users, items = Counter(u for u, _ in pairs), Counter(i for _, i in pairs)
        poor = [u for u in users if users[u] < k]
        if poor:
            pairs = [pair for pair in pairs if pair[0] != poor[0]]
            continue
        poor = [i for i in items if items[i] < k]
        if not poor:
            return pairs
        pairs = [pair for pair in pairs if pair[1] != poor[0]]


@settings(max_examples=100, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=60),
    k=st.integers(1, 4),
)
def test_k_core_agrees_with_a_slow_loop(pairs: list[tuple[int, int]], k: int) -> None:
    frame = pl.DataFrame(pairs, schema=["user", "item"], orient="row").cast(pl.String)
    expected = [(str(u), str(i)) for u, i in slow_k_core(pairs, k)]
    if expected:
        assert rows(k_core(frame, k)) == expected
    else:
        with pytest.raises(DataError, match="is empty"):
            k_core(frame, k)
