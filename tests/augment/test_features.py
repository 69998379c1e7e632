"""FeatureMask, FeatureNoise and ModalityDrop: what they do to rows, and what they leave."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmrec.augment.feature_mask import FeatureMask
from mmrec.augment.feature_noise import FeatureNoise
from mmrec.augment.modality_drop import ModalityDrop
from mmrec.errors import GraphError
from mmrec.graph.view import GraphView
from tests.cases.planted import rng

ITEMS, WIDTH = 400, 60


def view() -> GraphView:
    present = torch.arange(ITEMS) % 4 != 0
    scale = torch.linspace(0.1, 50, WIDTH)
    rows = (torch.randn(ITEMS, WIDTH, generator=rng(2)) * scale + 1) * present[:, None]
    clicks = torch.stack([torch.arange(ITEMS) % 7, torch.arange(ITEMS)])
    return GraphView(7, ITEMS, clicks, features={"image": rows}, present={"image": present})


def test_a_column_is_masked_for_all_items_or_for_none() -> None:
    before = view()
    after = FeatureMask(0.5)(before, rng()).features["image"]
    same = (after == before.features["image"]).all(dim=0)
    gone = (after == 0).all(dim=0)
    assert torch.equal(same, ~gone)
    assert 15 < int(gone.sum()) < 45


def test_noise_has_the_columns_spread_and_spares_missing_rows() -> None:
    before = view()
    present = before.present["image"]
    noise = (FeatureNoise(0.2)(before, rng()).features["image"] - before.features["image"])[present]
    spread = before.features["image"][present].std(dim=0)
    assert torch.allclose(noise.std(dim=0) / spread, torch.full((WIDTH,), 0.2), atol=0.04)
    assert noise.mean(dim=0).abs().div(spread).max() < 0.05
    assert not FeatureNoise(0.2)(before, rng()).features["image"][~present].any()
    nobody = replace(before, present={"image": torch.zeros(ITEMS, dtype=torch.bool)})
    assert torch.equal(FeatureNoise(0.2)(nobody, rng()).features["image"], before.features["image"])


def test_a_dropped_modality_is_a_missing_one() -> None:
    before = view()
    after = ModalityDrop(0.5)(before, rng())
    kept = after.present["image"]
    assert not (kept & ~before.present["image"]).any()
    assert torch.equal(after.features["image"][kept], before.features["image"][kept])
    assert not after.features["image"][~kept].any()
    assert 100 < int(kept.sum()) < 200, "of 300"


def test_modalities_are_taken_away_each_on_its_own() -> None:
    """Of 4,000 items: both kept (1 - d)^2, one d (1 - d) either way, none d^2."""
    items, drop = 4000, 0.3
    present = torch.ones(items, dtype=torch.bool)
    some = GraphView(
        1,
        items,
        torch.zeros(2, 0, dtype=torch.int64),
        features={"image": torch.ones(items, 2), "text": torch.ones(items, 3)},
        present={"image": present, "text": present},
    )
    after = ModalityDrop(drop)(some, rng(4)).present
    image, text = after["image"], after["text"]
    cells = {(True, True): 0.49, (True, False): 0.21, (False, True): 0.21, (False, False): 0.09}
    square = 0.0
    for (has_image, has_text), share in cells.items():
        count = int(((image == has_image) & (text == has_text)).sum())
        square += (count - items * share) ** 2 / (items * share)
    assert square < 21.1  # chi-square of 3 degrees of freedom: 1 in 10,000


def test_clicks_stay() -> None:
    for augmentation in (FeatureMask(0.5), FeatureNoise(0.5), ModalityDrop(0.5)):
        assert torch.equal(augmentation(view(), rng()).edge_index, view().edge_index)


def test_refused() -> None:
    for bad in (-0.1, float("inf"), float("nan")):
        with pytest.raises(GraphError, match=r"FeatureNoise.scale is .*, expected a finite number"):
            FeatureNoise(bad)
    with pytest.raises(GraphError, match=r"ModalityDrop.drop is 1"):
        ModalityDrop(1)
    with pytest.raises(GraphError, match=r"FeatureMask.drop is -1"):
        FeatureMask(-1)
