"""Graphs that models and augmentations build are found on disk by the next run, and by no other data."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mmrec.augment import correlated_feature_mask
from mmrec.augment.base import Augmentation
from mmrec.augment.correlated_feature_mask import CorrelatedFeatureMask
from mmrec.augment.item_graph_mix import ItemGraphMix
from mmrec.evaluate.topk import final_embeddings
from mmrec.graph import cooccurrence, interest, neighbours
from mmrec.graph.view import GraphView
from mmrec.models import words
from mmrec.models.base import Recommender
from mmrec.plugins import resolve
from mmrec.train.streams import seeded
from tests.cases.planted import assert_same_tensors, copies, planted_blocks, rng

MODELS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "DGVAE": ({"words": 4}, {"words"}),
    "ItemKNN": ({}, {"partners"}),
    "LATTICE": ({}, {"knn"}),
    "MMHCL": ({"user_k": 3}, {"partners"}),
    "REARM": ({}, {"knn", "partners", "interest"}),
    "SIGE": ({}, {"knn", "partners"}),
}
AUGMENTATIONS: dict[type[Augmentation], set[str]] = {
    CorrelatedFeatureMask: {"information"},
    ItemGraphMix: {"partners"},
}


PLANTED = planted_blocks().data.train


def view_with(folder: Path) -> GraphView:
    return replace(PLANTED, cache_dir=folder)


def _count_and_call(calls: list[str], name: str, make: Any, *args: Any, **options: Any) -> Any:
    calls.append(name)
    return make(*args, **options)


def kinds(folder: Path) -> set[str]:
    return {path.name.partition("-")[0] for path in folder.iterdir()}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was built, call by call."""
    calls: list[str] = []
    for module, name in (
        (neighbours, "knn"),
        (interest, "knn"),
        (cooccurrence, "_count"),
        (correlated_feature_mask, "_compare"),
        (words, "_words"),
    ):
        counted = partial(_count_and_call, calls, name, getattr(module, name))
        monkeypatch.setattr(module, name, counted)
    return calls


@pytest.mark.parametrize("name", MODELS)
def test_models_find_their_graphs_again(name: str, tmp_path: Path, built: list[str]) -> None:
    options, expected = MODELS[name]
    kind = resolve(Recommender, name, "model")  # type: ignore[type-abstract]

    def scores(view: GraphView) -> torch.Tensor:
        with seeded(0, "init"), torch.no_grad():
            model = kind(view, **options)
            return model.score(final_embeddings(model, view), torch.arange(view.num_users))

    first = scores(view_with(tmp_path))
    assert kinds(tmp_path) == expected
    assert len(built) == len(list(tmp_path.iterdir()))  # nothing twice
    del built[:]
    view = view_with(tmp_path)
    assert torch.equal(scores(view), first)
    assert built == []
    scores(view.changed(edge_weight=None))
    assert built == []
    features = {modality: rows.flip(0) for modality, rows in view.features.items()}
    fewer = replace(view.with_edges(torch.arange(100)), features=features, hyperedges=None)
    scores(replace(fewer, item_edge_weight=torch.rand(fewer.item_edge_index.shape[1]) - 0.5))  # type: ignore[union-attr]
    assert len(built) == len(list(tmp_path.iterdir())) / 2  # each anew for other data


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_augmentations_find_theirs_again(kind: type[Augmentation], tmp_path: Path, built: list[str]) -> None:
    first = copies(kind()(view_with(tmp_path), rng(3)))
    assert kinds(tmp_path) == AUGMENTATIONS[kind]
    assert built
    del built[:]
    view = view_with(tmp_path)
    assert_same_tensors(kind()(view, rng(3)), first)
    assert built == []


def test_users_found_the_other_way_are_other_users(
    tmp_path: Path, built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a search comes to depends on whether faiss is installed; see also the item graph's tests."""
    for way, count in (("exact", 1), ("approximate", 2), ("exact", 2)):
        monkeypatch.setattr(interest, "chosen_way", lambda *_, way=way: way)
        interest.user_interest_graph(view_with(tmp_path), "text", k=3)
        assert built == ["knn"] * count
