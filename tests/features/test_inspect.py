from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from features.errors import FeatureError
from features.inspect import inspect_store, main, neighbours, summarise
from features.store import FeatureStore, open_stores, write_store


def store_of(folder: Path, rows: np.ndarray, present: np.ndarray | None = None) -> FeatureStore:
    where = np.arange(len(rows)) if present is None else np.flatnonzero(present)
    blocks = [(where, rows[where].astype(np.float32))]
    return write_store(folder, folder.name, np.arange(len(rows)).astype(str), blocks, lambda: {"key": "k"})


def test_numbers_by_hand(tmp_path: Path) -> None:
    rows = np.array([[3, 4], [0, 1], [0, 1], [0, 1], [9, 9], [6, 8]])
    summary = summarise(store_of(tmp_path / "image", rows, np.array([1, 1, 1, 1, 0, 1], dtype=bool)))
    assert (summary.rows, summary.present, summary.duplicates, summary.largest_group) == (6, 5, 3, 3)
    assert summary.norms == pytest.approx((1, 1, 10))
    unit = np.array([[0.6, 0.8], [0, 1], [0, 1], [0, 1], [0.6, 0.8]])
    pairs = (unit @ unit.T)[~np.eye(5, dtype=bool)]
    assert summary.alike == pytest.approx(pairs.mean())


def test_effective_dimensions_of_planted_directions(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    plane = draw.normal(size=(900, 3)) @ np.linalg.qr(draw.normal(size=(20, 3)))[0].T
    assert summarise(store_of(tmp_path / "image", plane + 5)).dimensions == pytest.approx(3, abs=0.1)


def test_neighbours_against_a_full_sort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.inspect._BLOCK", 7)
    draw = np.random.default_rng(0)
    rows, present = draw.normal(size=(40, 5)), draw.random(40) < 0.8
    store = store_of(tmp_path / "image", rows, present)
    asked = np.flatnonzero(present)[[0, 3, 11]]
    found, cosines = neighbours(store, asked, 6)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for row, near, cosine in zip(asked, found, cosines, strict=True):
        scores = np.where(present & (np.arange(40) != row), unit @ unit[row], -np.inf)
        assert near.tolist() == np.argsort(-scores)[:6].tolist()
        np.testing.assert_allclose(cosine, np.sort(scores)[::-1][:6], atol=1e-5)
    few = store_of(tmp_path / "text", rows, np.arange(40) < 3)
    assert neighbours(few, np.array([0]), 6)[0].shape == (1, 2)


def test_command_writes_sheets_that_show_the_photos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colours = ["red", "#ee0000", "blue", "#0000ee"]
    for number, colour in enumerate(colours):
        Image.new("RGB", (60, 40), colour).save(tmp_path / f"{number}.png")
    rows = [f"{number},{number}.png,<b>{colour}</b>" for number, colour in enumerate(colours)]
    (tmp_path / "items.csv").write_text("\n".join(["item_id,photo,title", *rows]), encoding="utf-8")
    store_of(tmp_path / "store" / "image", np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]]))
    words = [str(tmp_path / "store"), f"--items={tmp_path / 'items.csv'}", "--image_column=photo"]
    assert main([*words, "--title_column=title", "--k=1"]) == 0
    shown = capsys.readouterr().out
    assert "4 of 2 numbers" in shown
    assert "4 (100.0%); 0 missing" in shown
    page = (tmp_path / "store" / "image.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 8
    assert "&lt;b&gt;red&lt;/b&gt;" in page
    assert "<b>red" not in page
    with Image.open(tmp_path / "store" / "image.png") as sheet:
        pixels = [
            sheet.convert("RGB").getpixel((left, 20 + 154 * line)) for line in range(4) for left in (40, 170)
        ]
    assert [max(range(3), key=pixel.__getitem__) for pixel in pixels] == [0, 0, 0, 0, 2, 2, 2, 2]
    assert list(open_stores(tmp_path / "store")) == ["image"], "the sheets are no stores"


def test_without_a_table_and_what_is_refused(tmp_path: Path) -> None:
    store_of(tmp_path / "store" / "text", np.random.default_rng(0).normal(size=(5, 3)))
    inspect_store(str(tmp_path / "store"), out=str(tmp_path / "sheets"))
    assert (tmp_path / "sheets" / "text.html").read_text(encoding="utf-8").count("no photo") == 5 * 5
    np.save(tmp_path / "image_feat.npy", np.zeros((3, 2), dtype=np.float32))
    with pytest.raises(FeatureError, match="there is nothing to look at"):
        inspect_store(str(tmp_path / "image_feat.npy"))
    with pytest.raises(FeatureError, match="count is 0"):
        inspect_store(str(tmp_path / "store"), count=0)
