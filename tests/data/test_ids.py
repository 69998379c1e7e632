"""Id maps: an order that depends on the ids alone, and codes that lead back to them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrec.data.ids import IdMap
from mmrec.data.interactions import read_interactions
from mmrec.errors import DataError

IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)
NUMBERS = st.integers(0, 10**30).map(str)


@pytest.mark.parametrize(
    ("values", "ordered"),
    [
        (["10", "9", "0", "100", "9"], ["0", "9", "10", "100"]),
        (["10", "9", "09"], ["09", "10", "9"]),
        (["10", "9", "-1"], ["-1", "10", "9"]),
        (["10", "9", "9.0"], ["10", "9", "9.0"]),
        (["10", "9", " 8"], [" 8", "10", "9"]),
        (["10", "9", "9\n"], ["10", "9", "9\n"]),
        (["b", "B", "é", "a"], ["B", "a", "b", "é"]),
        (
            ["2", "18446744073709551617", "18446744073709551616"],
            ["2", "18446744073709551616", "18446744073709551617"],
        ),
        ([], []),
    ],
)
def test_order(values: list[str], ordered: list[str]) -> None:
    assert IdMap.from_values(values).ids.tolist() == ordered
    assert IdMap.from_values(pl.Series(values, dtype=pl.String)).ids.tolist() == ordered


def test_several_columns_are_taken_together() -> None:
    ids = IdMap.from_values(["b", "a"], np.array(["c", "a"]), pl.Series(["d"]))
    assert ids.ids.tolist() == ["a", "b", "c", "d"]
    assert len(ids) == 4


def test_encode_and_decode() -> None:
    ids = IdMap.from_values(["x", "y", "z"])
    codes = ids.encode(pl.Series(["z", "x", "z"]))
    assert codes.dtype == np.int64
    assert codes.tolist() == [2, 0, 2]
    assert ids.decode(codes).tolist() == ["z", "x", "z"]
    assert ids.decode(np.array([[0, 1], [2, 2]])).tolist() == [["x", "y"], ["z", "z"]]
    assert ids.encode([]).tolist() == []
    assert ids.decode([]).tolist() == []


def test_unknown_ids() -> None:
    ids = IdMap.from_values(["x", "y"])
    assert ids.encode(["y", "q", "x"], strict=False).tolist() == [1, -1, 0]
    with pytest.raises(
        DataError, match=r"2 of 3 ids are unknown, the first is 'q'; the map holds 2 ids such as 'x'"
    ):
        ids.encode(["y", "q", "r"])
    for code in (-1, 2):
        with pytest.raises(DataError, match=f"code {code} stands for no id; expected 0 to 1"):
            ids.decode([0, code])


@pytest.mark.parametrize("values", [["a", ""], ["a", "b\0"], pl.Series(["a", None])])
def test_ids_that_numpy_would_change_are_refused(values: list[str] | pl.Series) -> None:
    with pytest.raises(DataError, match="an id is"):
        IdMap.from_values(values)


@given(values=st.lists(IDS, max_size=30) | st.lists(NUMBERS, max_size=30), seed=st.integers(0, 99))
def test_round_trip_and_independence_of_row_order(values: list[str], seed: int) -> None:
    ids = IdMap.from_values(values)
    assert ids.decode(ids.encode(values)).tolist() == values
    assert set(ids.ids.tolist()) == set(values)
    shuffled = random.Random(seed).sample(values, len(values))
    assert IdMap.from_values(shuffled).ids.tolist() == ids.ids.tolist()
    natural = all(value.isascii() and value.isdecimal() and str(int(value)) == value for value in values)
    assert ids.ids.tolist() == sorted(set(values), key=int if natural else None)


def test_dense_integers_of_baby_map_to_themselves(shared_data: Path) -> None:
    frame = read_interactions(shared_data / "baby" / "baby.inter")
    for column in ("user", "item"):
        ids = IdMap.from_values(frame[column])
        assert (ids.encode(frame[column]) == frame[column].cast(pl.Int64).to_numpy()).all()


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["0", "1", "2"], True),
        (["2", "0", "1"], True),
        (["1", "2"], False),
        (["0", "a"], False),
        (["00", "1"], False),
    ],
)
def test_ids_that_are_positions(ids: list[str], expected: bool) -> None:
    assert IdMap.from_values(ids).are_positions is expected
