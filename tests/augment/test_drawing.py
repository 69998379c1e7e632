"""Augmentations from anywhere: what is no view, and what changes the view it was given, is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mmrec.augment.base import Augmentation, Compose
from mmrec.augment.changes import changed_groups
from mmrec.augment.correlated_feature_mask import CorrelatedFeatureMask
from mmrec.augment.drawing import draw, draw_pair, parts_of
from mmrec.augment.edge_drop import EdgeDrop
from mmrec.augment.embedding_noise import EmbeddingNoise
from mmrec.augment.feature_mask import FeatureMask
from mmrec.augment.feature_noise import FeatureNoise
from mmrec.augment.knn_rewire import KNNRewire
from mmrec.augment.random_walk import RandomWalk
from mmrec.augment.svd_view import SVDView
from mmrec.auxiliary.view_contrast import ViewContrast
from mmrec.errors import GraphError
from mmrec.graph.view import GraphView
from mmrec.models.lightgcn import LightGCN
from mmrec.train.loop import fit
from tests.cases.planted import assert_same_tensors, copies, planted_blocks, rng, tiny_view
from tests.train.test_loop import valued


class Does(Augmentation):
    """Whatever it is told to."""

    def __init__(self, what: Callable[[GraphView], Any]) -> None:
        self.what = what

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        made: GraphView = self.what(view)
        return made


def halve(view: GraphView) -> GraphView:
    """In place, as a careless transform would."""
    assert view.edge_weight is not None
    view.edge_weight.mul_(0.5)
    return view


def blank(view: GraphView) -> GraphView:
    view.features["image"][0] = 0
    return view.changed(features=dict(view.features))


def replaced(view: GraphView) -> GraphView:
    view.features["image"] = view.features["image"] * 2  # type: ignore[index]
    return view.changed(features=dict(view.features))


def weighted() -> GraphView:
    return tiny_view().changed(edge_weight=torch.ones(10))


@pytest.mark.parametrize(
    ("what", "field"),
    [(halve, "edge_weight"), (blank, r"features\['image'\]"), (replaced, r"features\['image'\]")],
)
def test_a_view_that_is_changed_in_place_is_one_line_that_names_who_did_it(
    what: Callable[[GraphView], Any], field: str
) -> None:
    expected = f"^Does changed {field} of the view it was given in place; return a new view"
    for augmentation in (Does(what), Compose([EdgeDrop(0.0), Does(what), EdgeDrop(0.5)])):
        with pytest.raises(GraphError, match=expected):
            draw(augmentation, weighted(), rng())
        with pytest.raises(GraphError, match=expected):
            draw_pair(augmentation, weighted(), rng())


def test_a_copy_may_be_changed_in_place() -> None:
    steps = Compose([Does(lambda view: view.changed(edge_weight=view.edge_weight + 1)), Does(halve)])
    view = weighted()
    made = draw(steps, view, rng())
    assert torch.equal(made.edge_weight, torch.ones(10))
    assert torch.equal(view.edge_weight, torch.ones(10))


@pytest.mark.parametrize(("made", "found"), [(None, "NoneType"), ({}, "dict"), ((1, 2), "tuple")])
def test_what_is_no_view_is_one_line_that_names_it(made: Any, found: str) -> None:
    expected = f"^Does returned {found}, expected a GraphView"
    for augmentation in (Does(lambda _: made), Compose([EdgeDrop(0.1), Does(lambda _: made), EdgeDrop(0.1)])):
        with pytest.raises(GraphError, match=expected):
            draw(augmentation, tiny_view(), rng())
        with pytest.raises(GraphError, match=expected):
            draw_pair(augmentation, tiny_view(), rng())


@pytest.mark.parametrize("when", ["augment", "augment_step", "views"])
@pytest.mark.parametrize(
    ("what", "expected"),
    [(halve, "Does changed edge_weight of the view"), (lambda _: None, "Does returned NoneType")],
)
def test_training_says_it(when: str, what: Callable[[GraphView], Any], expected: str) -> None:
    view = weighted()
    asked: dict[str, Any] = {when: Does(what)}
    if when == "views":
        asked = {"auxiliary": [ViewContrast(view, augmentation=Does(what))]}
    with pytest.raises(GraphError, match=expected) as error:
        fit(LightGCN(view, dim=2), view, valued([1.0]), epochs=1, device="cpu", **asked)
    assert "\n" not in str(error.value)


def test_training_says_it_when_it_happens_in_a_later_epoch_only() -> None:
    class Late(Augmentation):
        def __init__(self, epoch: int = 1) -> None:
            self.epoch = epoch

        def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
            return halve(view) if self.epoch == 2 else view.with_edges(torch.arange(5))

        def at(self, epoch: int) -> Augmentation:
            return Late(epoch)

    view = weighted()
    with pytest.raises(GraphError, match="Late changed edge_weight of the view"):
        fit(LightGCN(view, dim=2), view, valued([1.0, 2.0]), epochs=9, device="cpu", augment=Late())


def test_draws_are_what_the_augmentations_own_calls_give() -> None:
    view = planted_blocks().data.train
    inner = Compose([FeatureMask(0.3), FeatureNoise(0.2)])
    for augmentation in (
        EdgeDrop(0.3),
        CorrelatedFeatureMask(3, 4),
        Compose([CorrelatedFeatureMask(3, 4), EdgeDrop(0.3), inner]),
        Compose([inner, EdgeDrop(0.3)]),
        Compose([]),
    ):
        assert_same_tensors(draw(augmentation, view, rng(2)), copies(augmentation(view, rng(2))))
        pairs = zip(draw_pair(augmentation, view, rng(2)), augmentation.pair(view, rng(2)), strict=True)
        for found, expected in pairs:
            assert_same_tensors(found, copies(expected))
    assert [type(part).__name__ for part in parts_of(Compose([EdgeDrop(), inner]))] == [
        "EdgeDrop",
        "FeatureMask",
        "FeatureNoise",
    ]


def test_groups_that_a_draw_changed() -> None:
    view = planted_blocks().data.train
    for augmentation, expected in (
        (EdgeDrop(0.3), ["clicks"]),
        (FeatureMask(0.5), ["features"]),
        (KNNRewire(0.5), ["item graph"]),
        (EmbeddingNoise(0.1), ["propagation"]),
        (SVDView(2), ["propagation"]),
        (RandomWalk(0.3), ["propagation"]),
        (EdgeDrop(0.0), []),
    ):
        assert changed_groups(view, augmentation(view, rng())) == expected
    again = view.changed(features={name: rows.clone() for name, rows in view.features.items()})
    assert changed_groups(view, again) == []
