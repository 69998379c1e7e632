from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from features.store import write_store
from mmrec.data.describe import describe, main

ROWS = [
    # user, item, label, time
    ("u", "a", 0, 1), ("u", "b", 0, 9), ("u", "c", 1, 3), ("u", "d", 2, 4),
    ("v", "a", 0, 1), ("v", "b", 0, 2), ("v", "d", 2, 3),
    ("w", "e", 2, 5), ("v", "a", 2, 1),
]  # fmt: skip


def clicks(folder: Path, rows: list[tuple[object, ...]] = ROWS) -> str:  # type: ignore[assignment]
    lines = ["user_id,item_id,x_label,time", *(",".join(map(str, row)) for row in rows)]
    (folder / "clicks.csv").write_text("\n".join(lines), encoding="utf-8")
    return str(folder / "clicks.csv")


def test_counts_splits_cold_and_leaks_by_hand(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id\na\nb\nc\nd\nx\ny\n")
    found = describe(clicks(tmp_path), items=str(tmp_path / "items.csv"))
    assert found.counts == {
        "rows": "9",
        "repeated pairs": "1",
        "users": "3",
        "items": "5",
        "clicks": "8",
        "items of the table without a click": "2",
        "clicked items not in the table": "1",
    }
    assert found.shape["density"] == f"{8 / 15:.4%}"
    assert found.shape["split (labels)"] == "train 4, valid 1, test 3"
    assert found.shape["test clicks of cold items"] == "3 (100.0%), 2 items"
    assert found.shape["test clicks of cold users"] == "1 (33.3%), 1 users"
    assert found.shape["clicks per user"].startswith("1 to 4, median 3, mean 2.7")
    assert found.leaks["pairs in two splits"] == "1, for example user 'v' and item 'a'"
    assert found.leaks["training clicks later than the user's test"].startswith("1 (25.0%) of 1 users")
    assert found.degrees["item"].tolist() == [1, 1, 2, 2, 2]


def test_a_clean_split_has_no_leaks(tmp_path: Path) -> None:
    rows = [(user, item, 0, 10 * item + user) for user in range(6) for item in range(6)]
    found = describe(clicks(tmp_path, rows), split="user_time")  # type: ignore[arg-type]
    assert found.leaks == {}
    assert describe(clicks(tmp_path, rows), split="random").leaks  # type: ignore[arg-type]


def test_coverage_and_features_fitted_on_unseen_items(tmp_path: Path) -> None:
    def store(name: str, encoder: dict[str, str]) -> None:
        rows = np.array([0, 1, 2])
        blocks = [(rows, np.ones((3, 4), dtype=np.float32))]
        ids = np.array(["a", "b", "z", "e"])
        write_store(tmp_path / "f" / name, name, ids, blocks, lambda: {"key": name, "encoder": encoder})

    store("image", {"encoder": "features.open_clip.OpenClipImage"})
    store("text", {"encoder": "features.tfidf.TfidfText"})
    found = describe(clicks(tmp_path), stores=[str(tmp_path / "f")])
    assert found.coverage["image"] == "2 of 5 items (40.0%), 50.0% of the clicks; 4 numbers each"
    assert "image features" not in found.leaks
    assert found.leaks["text features"].startswith("were fitted on all 4 items, 2 of them without a training")


def test_command_prints_and_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([clicks(tmp_path), f"--plot={tmp_path / 'p.png'}"]) == 0
    shown = capsys.readouterr().out
    assert "pairs in two splits" in shown
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width > 1000
    assert main([str(tmp_path / "absent.csv")]) == 2
    assert "no such file" in capsys.readouterr().err
