"""The study's differences and intervals, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.augmentations.__main__ import AUGMENTATIONS, BACKBONES, DATASETS
from experiments.augmentations.picture import difference, differences, draw
from mmrec.config import parse


def test_difference_by_hand() -> None:
    """Differences of 1, 2 and 3 per cent: mean 2, sd 1, Student's 4.303 with two degrees of freedom."""
    without = {"0": 0.2, "1": 0.2, "2": 0.2}
    found, half = difference({"0": 0.202, "1": 0.204, "2": 0.206}, without)
    assert found == pytest.approx(2)
    assert half == pytest.approx(4.303 / 3**0.5, rel=1e-3)


def test_seeds_are_paired() -> None:
    found, half = difference({"0": 0.11, "1": 0.31}, {"0": 0.1, "1": 0.3, "2": 0.2})
    assert found == pytest.approx(5)
    assert half == pytest.approx(0, abs=1e-9)
    assert difference({"0": 0.3}, {"0": 0.2})[0] == pytest.approx(50)
    assert np.isnan(difference({"0": 0.3}, {"0": 0.2})[1])
    assert np.isnan(difference({}, {"0": 0.2})[0])


def test_rows_land_in_their_cells(tmp_path: Path) -> None:
    rows = [
        {"config": f"{dataset} B {name}", "seed": seed, "recall@20": value}
        for dataset in ("a", "b")
        for name, values in (("none", "12"), ("more", "13"))
        for seed, value in zip("01", values, strict=True)
    ]
    found = differences(rows, ("a", "b"), ("B", "C"), ("more", "other"))
    assert found.shape == (2, 2, 2, 2)
    assert found[0, 0, 0, 0] == pytest.approx(100 * 0.5 / 1.5)
    assert np.isnan(found[:, 1]).all()
    assert np.isnan(found[:, :, 1]).all()
    draw(rows, ("a", "b"), ("B", "C"), ("more", "other"), tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.size[0] > 600


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_run_of_the_study_binds(name: str, root: Path) -> None:
    assert len(AUGMENTATIONS) - 1 == 8
    for dataset in DATASETS:
        for backbone in BACKBONES:
            config = str(root / "configs" / "data" / f"{dataset}.yaml")
            parse(["--config", config, "--model", backbone, *AUGMENTATIONS[name]])
