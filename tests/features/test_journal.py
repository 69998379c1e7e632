from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import FeatureError, MMRecError
from features.journal import Journal

HASHES = [bytes([value]) * 16 for value in range(1, 8)]


def fill(path: Path) -> list[int]:
    """Three batches of 2, 2 (one of them broken) and 1 rows; gives the file's size after each."""
    sizes = []
    with Journal(path, "k") as journal:
        sizes.append(path.stat().st_size)
        for start, count, broken in ((0, 2, 0), (2, 2, 1), (5, 1, 0)):
            rows = np.arange(start, start + count, dtype=np.float32)[:, None].repeat(3, axis=1)
            journal.add(HASHES[start : start + count + broken], rows, {"first": start, "é": "ü" * start})
            sizes.append(path.stat().st_size)
    return sizes


def test_what_was_added_is_there(tmp_path: Path) -> None:
    fill(tmp_path / "j")
    with Journal(tmp_path / "j", "k") as journal:
        assert {value for value, place in journal.offset.items() if place < 0} == {HASHES[4]}
        known = [value for value in (0, 1, 2, 3, 5) if journal.offset[HASHES[value]] >= 0]
        rows = journal.rows(np.array([journal.offset[HASHES[value]] for value in known]))
        assert rows.tolist() == [[float(value)] * 3 for value in known]
        assert [notes["first"] for notes in journal.notes[1:]] == [0, 2, 5]


@settings(max_examples=80, deadline=None)
@given(cut=st.integers(0, 2000), junk=st.binary(max_size=40))
def test_cut_anywhere_whole_batches_stay(
    cut: int, junk: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also where something else follows, as blocks of a disk that lost its power do."""
    path = tmp_path_factory.mktemp("j") / "j"
    sizes = fill(path)
    cut %= sizes[-1] + 1
    path.write_bytes(path.read_bytes()[:cut] + junk)
    whole = max((number for number, size in enumerate(sizes) if size <= cut), default=-1)
    expected = [2, 2 + 3, 2 + 3 + 1][whole - 1] if whole > 0 else 0
    with Journal(path, "k") as journal:
        assert len(journal.offset) == expected
        journal.add([HASHES[6]], np.full((1, 3), 9, dtype=np.float32), {})
    with Journal(path, "k") as journal:
        assert journal.rows(np.array([journal.offset[HASHES[6]]])).tolist() == [[9.0] * 3]
        assert len(journal.offset) == expected + 1


def test_rows_of_other_encoders_are_dropped(tmp_path: Path) -> None:
    fill(tmp_path / "j")
    with Journal(tmp_path / "j", "another") as journal:
        assert journal.offset == {}
    with Journal(tmp_path / "j", "k") as journal:
        assert journal.offset == {}


def test_a_changed_byte_ends_what_is_believed(tmp_path: Path) -> None:
    sizes = fill(tmp_path / "j")
    data = bytearray((tmp_path / "j").read_bytes())
    data[sizes[1] + 40] ^= 1
    (tmp_path / "j").write_bytes(bytes(data))
    with Journal(tmp_path / "j", "k") as journal:
        assert len(journal.offset) == 2


def test_one_at_a_time_and_one_width(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", "k") as journal:
        with (
            pytest.raises(MMRecError, match="another extraction is writing to"),
            Journal(tmp_path / "j", "k"),
        ):
            pass
        journal.add(HASHES[:1], np.zeros((1, 3), dtype=np.float32), {})
        with pytest.raises(FeatureError, match="rows of 4 numbers after rows of 3"):
            journal.add(HASHES[1:2], np.zeros((1, 4), dtype=np.float32), {})
