"""The conformance suite over every augmentation; a new file in `mmrec/augment` is in it by existing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmrec.augment.base import Augmentation
from mmrec.augment.degree_drop import DegreeDrop
from mmrec.augment.edge_drop import EdgeDrop
from mmrec.augment.svd_view import SVDView
from mmrec.graph.view import GraphView
from mmrec.plugins import known
from tests.cases.augmentation_cases import AugmentationCase
from tests.cases.planted import assert_same_but_rounding, planted_blocks, rng, tensors, tiny_view

DIFFERENT: dict[str, dict[str, Any]] = {
    "Compose": {"options": {"steps": [EdgeDrop(0.3), DegreeDrop(0.5)]}, "zero": {"steps": []}},
    "CorrelatedFeatureMask": {"zero": None, "options": {"groups": 3, "clusters": 4}},
    "EmbeddingNoise": {"zero": {"scale": 0}},
    "FeatureNoise": {"zero": {"scale": 0}},
    "HyperedgeView": {"zero": None},
    "ItemGraphMix": {"zero": {"share": 0}, "draws": False},
    "ModulusNoise": {"zero": {"scale": 0}},
    "PygTransform": {
        "options": {
            "transform": "torch_geometric.transforms.NormalizeFeatures",
            "options": {"attrs": ["image", "text"]},
        },
        "zero": None,
        "draws": False,
    },
    "RandomChoice": {
        "options": {"steps": [EdgeDrop(0.3), DegreeDrop(0.5)]},
        "zero": {"steps": [EdgeDrop(0)]},
    },
    "SVDView": {"zero": None, "draws": False},
    "Scheduled": {
        "options": {"augmentation": EdgeDrop(), "start": 0.3},
        "zero": {"augmentation": EdgeDrop()},
    },
}

for name, kind in known(Augmentation).items():
    members = {"augmentation": kind, **DIFFERENT.get(name, {})}
    globals()[f"Test{name}"] = type(f"Test{name}", (AugmentationCase,), members)


def test_none_is_forgotten() -> None:
    """Every file of the folder is a class that the suite runs over; found by their names alone."""
    folder = Path(__file__).resolve().parents[2] / "mmrec" / "augment"
    no_augmentation = {"__init__", "__main__", "base", "changes", "drawing", "preview"}
    files = {path.stem for path in folder.glob("*.py")} - no_augmentation
    assert {kind.__module__.rpartition(".")[2] for kind in known(Augmentation).values()} - {"base"} == files
    suites = {one.augmentation for one in globals().values() if _is_suite(one)}
    assert suites == set(known(Augmentation).values())
    assert len(suites) >= 19
    assert set(DIFFERENT) <= {kind.__name__ for kind in suites}, "an entry for a class that is no more"


def test_changes_inside_propagation_are_looked_at_where_the_view_is() -> None:
    """As the suite does on a GPU; `meta` has neither numbers nor generators."""
    nothing = torch.empty(2, 0, dtype=torch.int64, device="meta")
    view = GraphView(2, 3, nothing, inside=(lambda layer, number: number * layer,))
    assert {tensor.device.type for tensor in tensors(view).values()} == {"meta"}


def test_devices_may_differ_by_rounding_and_by_no_more() -> None:
    view = planted_blocks().data.train
    weights = 1 + torch.rand(view.edge_index.shape[1], generator=rng(9))
    view, rounded = (replace(view, edge_weight=one) for one in (weights, weights * (1 + 1e-6)))
    low, turned = SVDView(4)(view, rng()), SVDView(4)(rounded, rng())
    assert low.low_rank is not None
    assert_same_but_rounding(turned, low)  # four parts: four singular values of one
    with pytest.raises(AssertionError, match="low rank"):
        assert_same_but_rounding(turned, replace(low, low_rank=(low.low_rank[0] * 1.0001, low.low_rank[1])))
    tiny = tiny_view()
    for name, other in (
        ("item_edge_weight", replace(tiny, item_edge_weight=tiny.item_edge_weight * (1 + 1e-4))),  # type: ignore[operator]
        ("edge_index", replace(tiny, edge_index=tiny.edge_index.flip(1))),
    ):
        with pytest.raises(AssertionError, match=name):
            assert_same_but_rounding(tiny, other)


def _is_suite(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, AugmentationCase) and one is not AugmentationCase
