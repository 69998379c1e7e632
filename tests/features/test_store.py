from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.errors import FeatureError, MMRecError
from features.store import FeatureStore, open_stores, write_store

IDS = np.array(["b", "a", "001", "d", "e"])
ROWS = np.array([0, 1, 3])
VECTORS = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)


def blocks(vectors: np.ndarray = VECTORS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Two blocks; "001" and "e" are left out."""
    yield ROWS[:2], vectors[:2]
    yield ROWS[2:], vectors[2:]


def write(path: Path, modality: str = "image", **options: Any) -> FeatureStore:
    return write_store(path, modality, IDS, blocks(), lambda: {"key": "k", "broken": []}, **options)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_written_and_read_again(tmp_path: Path, dtype: str) -> None:
    write(tmp_path / "image", dtype=dtype)
    (store,) = open_stores(tmp_path).values()
    assert (store.modality, store.dim, store.matrix.dtype) == ("image", 2, np.dtype(dtype))
    assert isinstance(store.matrix, np.memmap)
    np.testing.assert_array_equal(store.matrix, [[1, 2], [3, 4], [0, 0], [5, 6], [0, 0]])
    assert store.present.tolist() == [True, True, False, True, False]
    assert (store.manifest["rows"], store.manifest["present"], store.manifest["key"]) == (5, 3, "k")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "image", "item_ids.npy", "manifest.json", "matrix.npy", "present.npy"
    ]  # fmt: skip


def test_many_rows_are_written_in_order(tmp_path: Path) -> None:
    """Gaps longer and shorter than what is written at a time; compared with the plain matrix."""
    rng = np.random.default_rng(0)
    expected = rng.normal(size=(20_000, 3)).astype(np.float32)
    present = rng.random(20_000) < 0.3
    present[5_000:15_000] = False
    expected[~present] = 0
    rows = np.flatnonzero(present)
    parts = ((part, expected[part]) for part in np.array_split(rows, 7))
    store = write_store(tmp_path / "image", "image", np.arange(20_000).astype(str), parts, dict)
    np.testing.assert_array_equal(store.matrix, expected)
    np.testing.assert_array_equal(store.present, present)


def test_join_is_by_id(tmp_path: Path) -> None:
    matrix, present = write(tmp_path / "s").join(["d", "stranger", "a", "001", "d", "1"])
    np.testing.assert_array_equal(matrix, [[5, 6], [0, 0], [3, 4], [0, 0], [5, 6], [0, 0]])
    assert present.tolist() == [True, False, True, False, True, False]
    assert (matrix.dtype, matrix.flags["C_CONTIGUOUS"]) == (np.float32, True)


def test_join_says_how_many_have_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = write(tmp_path / "s")
    with caplog.at_level("INFO"):
        store.join(["a", "b"])
        assert caplog.text == ""
        store.join(["a", "b", "e", "x", "y"])
    assert "of 5 items 2 have no row and 1 an empty one" in caplog.text


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*IDS, "x", "aa", ""]), min_size=1).filter(lambda ids: bool({*ids} & {*IDS})))
def test_join_agrees_with_a_slow_loop(tmp_path: Path, wanted: list[str]) -> None:
    if not (tmp_path / "s").exists():
        write(tmp_path / "s")
    store = open_stores(tmp_path / "s")["image"]
    matrix, present = store.join(wanted)
    known = dict(zip(IDS[ROWS].tolist(), VECTORS, strict=True))
    for row, name in enumerate(wanted):
        assert present[row] == (name in known)
        np.testing.assert_array_equal(matrix[row], known.get(name, np.zeros(2)))


def test_store_made_for_other_items(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"made for other items: none of the 2 ids.*'x'.*'b'"):
        write(tmp_path / "s").join(["x", "y"])


def test_opening_each_layout(tmp_path: Path) -> None:
    write(tmp_path / "image")
    write(tmp_path / "text", "text")
    np.save(tmp_path / "audio_feat.npy", np.ones((3, 4), dtype=np.float16))
    (tmp_path / ".image.1234.tmp").mkdir()
    (tmp_path / "unrelated").mkdir()
    assert list(open_stores(tmp_path)) == ["audio", "image", "text"]
    assert list(open_stores(tmp_path / "text")) == ["text"]
    assert list(open_stores(tmp_path / "audio_feat.npy")) == ["audio"]


def test_mmrec_layout(tmp_path: Path) -> None:
    matrix = np.array([[1, 2], [0, 0], [3, 4]], dtype=np.float64)
    np.save(tmp_path / "image_feat.npy", matrix)
    store = open_stores(tmp_path)["image"]
    rows, present = store.join(np.array([2, 1, 0]))
    np.testing.assert_array_equal(rows, matrix[::-1])
    assert (rows.dtype, present.tolist()) == (np.float32, [True, False, True])


def test_mmrec_layout_with_too_few_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "image_feat.npy", np.ones((3, 2)))
    with pytest.raises(FeatureError, match=r"has 3 rows, numbered from 0, and none for 2 of 5 items.*'3'"):
        open_stores(tmp_path)["image"].join([str(index) for index in range(5)])
    with pytest.raises(FeatureError, match=r"made for other items.*numbered from 0"):
        open_stores(tmp_path)["image"].join(["B001", "B002"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite(tmp_path: Path, bad: float) -> None:
    np.save(tmp_path / "image_feat.npy", np.array([[1, 1], [1, bad], [1, 1]]))
    store = open_stores(tmp_path)["image"]
    with pytest.raises(FeatureError, match=r"row 1, column 1 \(item '1'\).*finite"):
        store.join(["2", "1"])
    assert store.join(["0", "2"])[1].all(), "rows nobody asks for do no harm"
    np.save(tmp_path / "text_feat.npy", np.full((2, 2), 1e300))
    with pytest.raises(FeatureError, match=r"row 0.*finite"):
        open_stores(tmp_path)["text"].join(["0"])
    vectors = VECTORS.copy()
    vectors[1, 0] = bad
    with pytest.raises(FeatureError, match=r"image encoder.*item 'a'.*finite"):
        write_store(tmp_path / "image", "image", IDS, blocks(vectors), dict)
    assert not (tmp_path / "image").exists()


def test_numbers_too_large_for_float16(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"beyond float16.*item 'b'"):
        write_store(tmp_path / "s", "image", IDS, blocks(VECTORS * 70_000), dict, "float16")


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "image_feat.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FeatureError, match="pickled objects, which are never loaded"):
        open_stores(tmp_path)


def _cut(folder: Path) -> None:
    content = (folder / "matrix.npy").read_bytes()
    (folder / "matrix.npy").write_bytes(content[:-3])


def _edit(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | changes))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "unfinished store: it has no manifest.json"),
        (lambda folder: (folder / "matrix.npy").unlink(), "unfinished store: it has no matrix.npy"),
        (lambda folder: (folder / "present.npy").unlink(), "unfinished store: it has no present.npy"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "not a store's manifest"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "not a store's manifest"),
        (lambda folder: (folder / "matrix.npy").write_bytes(b""), "not a whole .npy file"),
        (_cut, "not a whole .npy file"),
        (
            lambda folder: np.save(folder / "matrix.npy", np.ones((4, 2), "f4")),
            "4 x 2, its manifest says 5 x 2",
        ),
        (lambda folder: np.save(folder / "matrix.npy", np.ones((5, 2))), "do not belong together"),
        (lambda folder: np.save(folder / "item_ids.npy", IDS[::-1]), "not those of its manifest"),
        (lambda folder: np.save(folder / "item_ids.npy", IDS[:4]), "do not belong together"),
        (lambda folder: np.save(folder / "present.npy", np.ones(5, bool)), "not those of its manifest"),
        (_edit(version=99), "version 99, this program reads mmrec-features version 1"),
    ],
)
def test_damaged_store(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    write(tmp_path / "s")
    damage(tmp_path / "s")
    with pytest.raises(FeatureError, match=message) as caught:
        open_stores(tmp_path / "s")
    assert "\n" not in str(caught.value)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="no feature store at"):
        open_stores(tmp_path / "absent")
    with pytest.raises(FeatureError, match="holds no features"):
        open_stores(tmp_path)


def test_one_modality_twice(tmp_path: Path) -> None:
    write(tmp_path / "image")
    shutil.copytree(tmp_path / "image", tmp_path / "copy")
    with pytest.raises(FeatureError, match="has 'image' twice"):
        open_stores(tmp_path)


@pytest.mark.parametrize("array", [np.ones(4), np.ones((2, 2), dtype=int), np.ones((0, 3)), np.float64(3)])
def test_matrix_of_another_kind(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "image_feat.npy", array)
    with pytest.raises(FeatureError, match="expected a table of float numbers"):
        open_stores(tmp_path)


def test_a_folder_of_photos_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "1.jpg").write_bytes(b"precious")
    with pytest.raises(FeatureError, match="folder of something else"):
        write(tmp_path / "image")
    assert (tmp_path / "image" / "1.jpg").read_bytes() == b"precious"


def test_wrong_blocks(tmp_path: Path) -> None:
    parts = iter([(ROWS[:2], VECTORS[:2]), (ROWS[2:], np.ones((1, 3), np.float32))])
    with pytest.raises(FeatureError, match=r"shape \(1, 3\) for 1 rows: expected \(1, 2\)"):
        write_store(tmp_path / "s", "image", IDS, parts, dict)
    with pytest.raises(FeatureError, match="no item has anything of image"):
        write_store(tmp_path / "s", "image", IDS, iter([]), dict)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_to_a_matrix_is_numbers_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "image_feat.npy"
    np.save(path, np.ones((3, 2), dtype=np.float32))
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    message = ""
    try:
        matrix, _ = open_stores(tmp_path)["image"].join(["0"])
        assert np.isfinite(matrix).all()
    except MMRecError as error:
        message = str(error)
    assert "\n" not in message
