"""The conformance suite over every augmentation; a new file in `mmrec/augment` is in it by existing."""

from __future__ import annotations

from typing import Any

from mmrec.augment.base import Augmentation
from mmrec.augment.degree_drop import DegreeDrop
from mmrec.augment.edge_drop import EdgeDrop
from mmrec.plugins import known
from tests.cases.augmentation_cases import AugmentationCase

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
    assert {"Compose", "DegreeDrop", "EdgeDrop"} <= set(known(Augmentation))
    assert {f"Test{name}" for name in known(Augmentation)} <= set(globals())
