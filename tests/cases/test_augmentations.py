"""The conformance suite over every augmentation; a new file in `mmrec/augment` is in it by existing."""

from __future__ import annotations

from pathlib import Path
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
    """Every file of the folder is a class that the suite runs over; found by their names alone."""
    folder = Path(__file__).resolve().parents[2] / "mmrec" / "augment"
    no_augmentation = {"__init__", "__main__", "base", "changes", "drawing", "preview"}
    files = {path.stem for path in folder.glob("*.py")} - no_augmentation
    assert {kind.__module__.rpartition(".")[2] for kind in known(Augmentation).values()} - {"base"} == files
    suites = {one.augmentation for one in globals().values() if _is_suite(one)}
    assert suites == set(known(Augmentation).values())
    assert len(suites) >= 19
    assert set(DIFFERENT) <= {kind.__name__ for kind in suites}, "an entry for a class that is no more"


def _is_suite(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, AugmentationCase) and one is not AugmentationCase
