from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.combine import combine_stores
from features.combine import main as combine
from features.errors import FeatureError, MMRecError
from features.imported import import_vectors, main, read_vectors
from features.store import FeatureStore, open_stores, write_store

IDS = ["a", "b", "007"]
ROWS = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)


def _npz(folder: Path) -> Path:
    np.savez(folder / "v.npz", ids=np.array(IDS), vectors=ROWS)
    return folder / "v.npz"


def _pt_mapping(folder: Path) -> Path:
    torch.save({name: torch.from_numpy(row) for name, row in zip(IDS, ROWS, strict=True)}, folder / "v.pt")
    return folder / "v.pt"


def _pt_tables(folder: Path) -> Path:
    torch.save({"ids": IDS, "features": torch.from_numpy(ROWS).half()}, folder / "v.pth")
    return folder / "v.pth"


def _lists(folder: Path) -> Path:
    pl.DataFrame({"asin": IDS, "vector": ROWS.tolist()}).write_parquet(folder / "v.parquet")
    return folder / "v.parquet"


def _arrays(folder: Path) -> Path:
    vectors = pl.Series("vector", ROWS.tolist(), dtype=pl.Array(pl.Float64, 2))
    pl.DataFrame([pl.Series("item_id", IDS), vectors]).write_parquet(folder / "v.parquet")
    return folder / "v.parquet"


def _columns(folder: Path) -> Path:
    pl.DataFrame({"id": IDS, "v0": ROWS[:, 0], "v1": ROWS[:, 1]}).write_parquet(folder / "v.parquet")
    return folder / "v.parquet"


def _dataset(folder: Path) -> Path:
    """Two parts of a HuggingFace dataset: streams of Arrow."""
    for part in (0, 1):
        rows = slice(0, 2) if part == 0 else slice(2, 3)
        frame = pl.DataFrame({"item_id": IDS[rows], "vector": ROWS[rows].tolist()})
        frame.write_ipc_stream(folder / f"data-0000{part}-of-00002.arrow")
    return folder


def _ducho(folder: Path) -> Path:
    """A file per item; one has the rows of two photos."""
    for name, row in zip(IDS, ROWS, strict=True):
        np.save(folder / f"{name}.npy", row[None] if name == "a" else row)
    np.save(folder / "b.npy", np.stack([ROWS[1] - 1, ROWS[1] + 1]))
    return folder


@pytest.mark.parametrize("make", [_npz, _pt_mapping, _pt_tables, _lists, _arrays, _columns, _dataset, _ducho])
def test_every_format_gives_the_same_rows(tmp_path: Path, make: Any) -> None:
    (tmp_path / "in").mkdir()
    store = import_vectors(str(make(tmp_path / "in")), str(tmp_path / "out"), "image")
    rows, present = store.join(["007", "b", "stranger", "a"])
    assert rows.tolist() == [[5, 6], [3, 4], [0, 0], [1, 2]]
    assert present.tolist() == [True, True, False, True]
    assert open_stores(tmp_path / "out")["image"].manifest["rows"] == 3


def test_rows_without_ids_are_numbered_or_follow_a_table(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.concatenate([ROWS, [[0, 0], [np.nan, 1]]]).astype(np.float64))
    store = import_vectors(str(tmp_path / "v.npy"), str(tmp_path / "out"), "audio")
    assert store.ids.tolist() == ["0", "1", "2", "3", "4"]
    assert store.present.tolist() == [True, True, True, False, False], "zeros and NaN are missing"
    (tmp_path / "items.csv").write_text("item_id\nq\nw\ne\nr\nt\n")
    words = [str(tmp_path / "v.npy"), str(tmp_path / "out2"), "audio", f"--items={tmp_path / 'items.csv'}"]
    assert main(words) == 0
    assert open_stores(tmp_path / "out2")["audio"].join(["e"])[0].tolist() == [[5, 6]]
    (tmp_path / "items.csv").write_text("item_id\nq\n")
    assert main(words) == 2


def test_what_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}]), allow_pickle=True)
    torch.save({"a": Path("x")}, tmp_path / "code.pt")
    np.savez(tmp_path / "two.npz", a=ROWS, b=ROWS)
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    (tmp_path / "some.bin").write_bytes(b"123")
    (tmp_path / "ragged").mkdir()
    np.save(tmp_path / "ragged" / "a.npy", ROWS[0])
    np.save(tmp_path / "ragged" / "b.npy", np.ones(3, dtype=np.float32))
    pl.DataFrame({"id": ["a", "a"], "v": [[1.0], [2.0]]}).write_parquet(tmp_path / "twice.parquet")
    pl.DataFrame({"id": ["a", "b"], "v": [[1.0], [2.0, 3.0]]}).write_parquet(tmp_path / "ragged.parquet")
    for name, message in {
        "pickled.npy": "never loaded",
        "code.pt": "never loaded",
        "two.npz": r"2 of what could be the vectors \(a, b\)",
        "words.npy": "expected float numbers",
        "some.bin": "expected .npy, .npz",
        "absent.npy": "there is nothing at",
        "ragged": "several lengths",
        "twice.parquet": "the id 'a' twice",
        "ragged.parquet": "vectors of 1 to 2 numbers",
    }.items():
        with pytest.raises(FeatureError, match=message):
            import_vectors(str(tmp_path / name), str(tmp_path / "out"), "image")
    with pytest.raises(FeatureError, match="modality is 'a/b'"):
        import_vectors(str(tmp_path / "two.npz"), str(tmp_path / "out"), "a/b")
    assert not (tmp_path / "out").exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=300),
    cut=st.integers(0, 600),
    suffix=st.sampled_from([".npy", ".npz", ".pt", ".parquet", ".arrow"]),
)
def test_whatever_bytes_come_it_is_a_result_or_one_of_our_errors(
    data: bytes, cut: int, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    makers = {".npz": _npz, ".pt": _pt_mapping, ".parquet": _lists}
    whole = makers[suffix](folder).read_bytes() if suffix in makers else b"\x93NUMPY\x01\x00"
    path = folder / f"x{suffix}"
    path.write_bytes(whole[:cut] + data)
    with contextlib.suppress(MMRecError):
        ids, matrix = read_vectors(path)
        assert matrix.ndim == 2
        assert ids is None or len(ids) == len(matrix)


def two_stores(folder: Path) -> list[FeatureStore]:
    def write(name: str, ids: list[str], rows: np.ndarray) -> FeatureStore:
        blocks = [(np.arange(len(rows)), rows.astype(np.float32))]
        return write_store(folder / name, name, np.array([*ids, "none"]), blocks, lambda: {"key": name})

    return [
        write("image", ["a", "b", "c"], np.array([[3, 4], [0, 2], [1, 0]])),
        write("text", ["b", "a"], np.array([[5, 0], [4, 3]])),
    ]


def test_mean_and_concatenation_join_by_id(tmp_path: Path) -> None:
    stores = two_stores(tmp_path)
    wide = combine_stores(stores, tmp_path / "wide" / "fused", how="concat")
    assert wide.matrix.tolist() == [
        pytest.approx([0.6, 0.8, 0.8, 0.6]),
        [0, 1, 1, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    assert wide.present.tolist() == [True, True, True, False]
    mean = combine_stores(stores, tmp_path / "mean" / "fused", how="mean")
    half = 0.5**0.5
    np.testing.assert_allclose(mean.matrix, [[half, half], [half, half], [1, 0], [0, 0]], atol=1e-6)
    with pytest.raises(FeatureError, match="1 store to combine"):
        combine_stores(stores[:1], tmp_path / "x")
    narrow = write_store(
        tmp_path / "one", "audio", np.array(["a"]), [(np.array([0]), np.ones((1, 1), np.float32))], dict
    )
    with pytest.raises(FeatureError, match=r"rows of \[2, 1\] numbers have no mean"):
        combine_stores([stores[0], narrow], tmp_path / "x", how="mean")


def test_combine_command(tmp_path: Path) -> None:
    two_stores(tmp_path / "in")
    words = [f"--out={tmp_path / 'out'}", f"--stores=[{tmp_path / 'in'}]", "--how=mean", "--modality=both"]
    assert combine(words) == 0
    assert open_stores(tmp_path / "out")["both"].manifest["encoder"]["combine"] == "mean"
