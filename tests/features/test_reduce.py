from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from features.errors import FeatureError
from features.reduce import main, reduce_store
from features.store import FeatureStore, open_stores, write_store

PRESENT = np.arange(40) % 5 != 0


def planted(folder: Path, present: np.ndarray = PRESENT) -> FeatureStore:
    """Rows in a plane of eight columns, off the origin: two directions hold all of the variance."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 2)) @ rng.normal(size=(2, 8)) + 3
    where = np.flatnonzero(present)
    blocks = [(where, rows[where].astype(np.float32))]
    return write_store(folder / "image", "image", np.arange(40).astype(str), blocks, lambda: {"key": "of"})


def test_planted_plane_is_found(tmp_path: Path) -> None:
    store = planted(tmp_path)
    reduced = reduce_store(store, tmp_path / "small" / "image", width=2)
    assert reduced.manifest["explained_variance"] == pytest.approx(1, abs=1e-5)
    assert reduced.matrix.shape == (40, 2)
    assert reduced.present.tolist() == PRESENT.tolist()
    assert not reduced.matrix[~PRESENT].any()
    full, small = store.matrix[PRESENT], reduced.matrix[PRESENT]
    distance = np.linalg.norm(full[:, None] - full[None], axis=2)
    np.testing.assert_allclose(np.linalg.norm(small[:, None] - small[None], axis=2), distance, atol=1e-4)
    np.testing.assert_allclose(small.mean(axis=0), 0, atol=1e-5)


def test_against_the_eigenvectors_of_the_covariance(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = (rng.normal(size=(30, 6)) * [5, 4, 3, 1, 0.5, 0.1]).astype(np.float32)
    store = write_store(
        tmp_path / "text", "text", np.arange(30).astype(str), [(np.arange(30), rows)], lambda: {"key": "of"}
    )
    reduced = reduce_store(store, tmp_path / "out" / "text", width=3)
    centred = rows - rows.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / 29)
    expected = centred @ vectors[:, ::-1][:, :3]
    np.testing.assert_allclose(np.abs(reduced.matrix), np.abs(expected), atol=1e-4)  # signs are free
    assert reduced.manifest["explained_variance"] == pytest.approx(values[-3:].sum() / values.sum(), abs=1e-5)


def test_whitened_columns_have_unit_variance(tmp_path: Path) -> None:
    reduced = reduce_store(planted(tmp_path), tmp_path / "white" / "image", width=2, whiten=True)
    np.testing.assert_allclose(reduced.matrix[PRESENT].var(axis=0, ddof=1), 1, atol=1e-4)


def test_made_once_and_anew_when_the_numbers_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = planted(tmp_path)
    out = tmp_path / "small" / "image"
    first = reduce_store(store, out, width=2).manifest["key"]
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.decomposition.PCA", None)  # would fail if it were used
        assert reduce_store(store, out, width=2).manifest["key"] == first
    other = planted(tmp_path / "other", present=np.arange(40) % 7 != 0)
    assert reduce_store(other, out, width=2).manifest["key"] != first
    assert reduce_store(other, out, width=1).dim == 1


def test_no_more_columns_than_there_are(tmp_path: Path) -> None:
    few = np.arange(40) < 3
    assert reduce_store(planted(tmp_path, present=few), tmp_path / "small" / "image", width=100).dim == 3
    one = np.arange(40) < 1
    lonely = reduce_store(planted(tmp_path / "one", present=one), tmp_path / "lone" / "image", width=4)
    assert (lonely.dim, lonely.matrix.any()) == (1, False)


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="width is 0, expected a whole number from 1"):
        reduce_store(planted(tmp_path), tmp_path / "small" / "image", width=0)
    np.save(tmp_path / "image_feat.npy", np.zeros((3, 2), dtype=np.float32))
    empty = open_stores(tmp_path / "image_feat.npy")["image"]
    with pytest.raises(FeatureError, match="no row with anything in it"):
        reduce_store(empty, tmp_path / "small" / "image", width=1)
    np.save(tmp_path / "image_feat.npy", np.array([[1, np.inf], [1, 2]], dtype=np.float32))
    with pytest.raises(FeatureError, match="not finite"):
        reduce_store(open_stores(tmp_path / "image_feat.npy")["image"], tmp_path / "small" / "image", width=1)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted(tmp_path / "full")
    words = [f"--store={tmp_path / 'full'}", f"--out={tmp_path / 'small'}", "--width=1", "--whiten"]
    assert main(words) == 0
    (store,) = open_stores(tmp_path / "small").values()
    assert (store.dim, store.manifest["encoder"]["whiten"]) == (1, "True")
    assert main([f"--store={tmp_path / 'absent'}", f"--out={tmp_path / 'small'}"]) == 2
    assert "no feature store at" in capsys.readouterr().err
