"""Pairs of views, RandomChoice, Scheduled, Compose over epochs, CorrelatedFeatureMask and PygTransform."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.transforms import BaseTransform

from mmrec.augment.base import Augmentation, Compose
from mmrec.augment.correlated_feature_mask import CorrelatedFeatureMask, mutual_information
from mmrec.augment.edge_drop import EdgeDrop
from mmrec.augment.feature_mask import FeatureMask
from mmrec.augment.node_drop import NodeDrop
from mmrec.augment.pyg_transform import PygTransform
from mmrec.augment.random_choice import RandomChoice
from mmrec.augment.scheduled import Scheduled
from mmrec.errors import GraphError
from mmrec.graph.view import GraphView
from tests.cases.planted import assert_same_tensors, copies, planted_blocks, rng, tiny_view


def view() -> GraphView:
    return planted_blocks().data.train


def test_a_pair_is_two_draws() -> None:
    first, second = EdgeDrop(0.5).pair(view(), rng(1))
    source = rng(1)
    assert_same_tensors(first, copies(EdgeDrop(0.5)(view(), source)))
    assert_same_tensors(second, copies(EdgeDrop(0.5)(view(), source)))


def test_random_choice_takes_one_as_often_as_its_weight_says() -> None:
    class Mark(Augmentation):
        def __init__(self, number: int) -> None:
            self.number = number

        def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
            return view.with_edges(torch.arange(self.number))

    choice = RandomChoice([Mark(1), Mark(2)], weights=[3.0, 1.0])
    source, some = rng(), tiny_view()
    drawn = [choice(some, source).edge_index.shape[1] for _ in range(2000)]
    assert np.mean([one == 1 for one in drawn]) == pytest.approx(0.75, abs=0.03)
    for _ in range(10):
        first, second = choice.pair(some, source)
        assert first.edge_index.shape == second.edge_index.shape
    with pytest.raises(GraphError, match=r"RandomChoice has 1 steps and weights \[1, 2\]"):
        RandomChoice([Mark(1)], weights=[1, 2])
    with pytest.raises(GraphError, match="RandomChoice has 0 steps"):
        RandomChoice([])


def test_a_schedule_is_a_straight_line_and_then_flat() -> None:
    plan = Scheduled(EdgeDrop(), start=0.1, end=0.5, epochs=5)
    strengths = [plan.at(epoch).drop for epoch in (1, 2, 3, 5, 9)]  # type: ignore[attr-defined]
    assert strengths == pytest.approx([0.1, 0.2, 0.3, 0.5, 0.5])
    some = view()
    assert_same_tensors(plan.at(5)(some, rng(2)), copies(EdgeDrop(0.5)(some, rng(2))))
    assert_same_tensors(plan(some, rng(2)), copies(EdgeDrop(0.1)(some, rng(2))))
    nested = Compose([RandomChoice([plan])]).at(3)
    assert nested.steps[0].steps[0].drop == pytest.approx(0.3)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"option": "dorp"}, "EdgeDrop has no option 'dorp'; did you mean 'drop'"),
        ({"end": 1.0}, r"EdgeDrop.drop is 1.0, expected at least 0 and below 1"),
        ({"epochs": 0}, r"Scheduled.epochs is 0"),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Scheduled(EdgeDrop(), **options)


def test_views_that_go_through_two_steps() -> None:
    steps = Compose([EdgeDrop(0.3), FeatureMask(0.3)])
    first, second = steps.pair(view(), rng(1))
    assert not torch.equal(first.features["image"], second.features["image"])
    assert first.edge_index.shape != second.edge_index.shape
    nothing = Compose([]).pair(view(), rng(1))
    assert_same_tensors(nothing[0], copies(nothing[1]))


def test_mutual_information_by_hand() -> None:
    a = np.array([0, 0, 1, 1])
    assert mutual_information(a, a) == pytest.approx(np.log(2))
    assert mutual_information(a, np.array([0, 1, 0, 1])) == pytest.approx(0)
    b = np.array([0, 0, 0, 1])
    assert mutual_information(a, b) == pytest.approx(mutual_information(b, a))
    by_hand = 0.5 * np.log(0.5 / (0.5 * 0.75)) + 0.25 * np.log(0.25 / (0.5 * 0.75))
    assert mutual_information(a, b) == pytest.approx(by_hand + 0.25 * np.log(0.25 / (0.5 * 0.25)))


def test_the_two_masks_part_the_columns_between_them() -> None:
    some = view()
    for seed in range(6):
        first, second = CorrelatedFeatureMask(groups=2, clusters=3).pair(some, rng(seed))
        for name, rows in some.features.items():
            masked = [~one.features[name].any(dim=0) for one in (first, second)]
            assert (masked[0] ^ masked[1]).all()
            assert torch.equal(first.features[name] + second.features[name], rows)
        assert_same_tensors(CorrelatedFeatureMask(groups=2, clusters=3)(some, rng(seed)), copies(first))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_masks_stay_complementary_wherever_they_stand_among_views(place: int) -> None:
    some, mask = view(), CorrelatedFeatureMask(groups=2, clusters=3)
    steps: list[Augmentation] = [EdgeDrop(0.5), NodeDrop(0.2)]
    steps.insert(place, RandomChoice([mask]) if place == 2 else mask)
    for seed in range(4):
        first, second = Compose(steps).pair(some, rng(seed))
        assert first.edge_index.shape != second.edge_index.shape
        for name, rows in some.features.items():
            assert not torch.equal(first.features[name], rows)
            assert torch.equal(first.features[name] + second.features[name], rows)


def test_steps_without_a_say_draw_for_each_view_in_turn() -> None:
    """As before there were pairs of pairs: the order of draws is what published numbers rest on."""
    some, source = view(), rng(5)
    first, second = Compose([EdgeDrop(0.3), NodeDrop(0.2)]).pair(some, rng(5))
    begun = [EdgeDrop(0.3)(some, source) for _ in "ab"]
    for found, one in zip((first, second), begun, strict=True):
        assert_same_tensors(found, copies(NodeDrop(0.2)(one, source)))


def test_columns_that_say_the_same_are_masked_together() -> None:
    """Blocks 0 and 2 are the same numbers, so are 1 and 3: a mask of two takes a pair."""
    draw = rng(3)
    one, other = (torch.randint(3, (60, 1), generator=draw).float() for _ in range(2))
    some = GraphView(
        2,
        60,
        torch.tensor([[0, 1], [0, 1]]),
        features={"image": torch.cat([one, other, one, other], dim=1)},
        present={"image": torch.ones(60, dtype=torch.bool)},
    )
    for seed in range(8):
        masked = CorrelatedFeatureMask(groups=4, clusters=3)(some, rng(seed)).features["image"]
        hidden = (~masked.any(dim=0)).nonzero().squeeze(1).tolist()
        assert hidden[:2] in ([0, 2], [1, 3]) or len(hidden) == 3
        assert {0, 2} <= set(hidden) or {1, 3} <= set(hidden)


def test_without_features_there_is_nothing_to_mask() -> None:
    plain = replace(tiny_view(), features={}, present={})
    assert CorrelatedFeatureMask()(plain, rng()) is plain
    with pytest.raises(GraphError, match="CorrelatedFeatureMask has groups 0 and clusters 16"):
        CorrelatedFeatureMask(groups=0)


class HalfOfTheClicks(BaseTransform):
    """What a user of torch_geometric might have: drops clicks by torch's global generator."""

    def __init__(self, nodes: int | None = None, many: bool = False) -> None:
        self.nodes, self.many = nodes, many

    def forward(self, data: HeteroData) -> Any:
        clicks = data["user", "clicks", "item"]
        kept = torch.rand(clicks.edge_index.shape[1]) < 0.5
        clicks.edge_index = clicks.edge_index[:, kept]
        if "edge_weight" in clicks:
            clicks.edge_weight = clicks.edge_weight[kept]
        if self.nodes:
            data["user"].num_nodes = self.nodes
        return (data, data) if self.many else data


MINE = f"{__name__}.HalfOfTheClicks"


def test_a_transform_of_torch_geometric_is_an_augmentation() -> None:
    some = view()
    before = torch.get_rng_state()
    found = PygTransform(MINE)(some, rng(1))
    assert torch.equal(before, torch.get_rng_state())
    assert found.edge_index.shape[1] == pytest.approx(some.edge_index.shape[1] / 2, rel=0.3)
    assert torch.equal(found.edge_index, PygTransform(MINE)(some, rng(1)).edge_index)
    assert not torch.equal(found.edge_index, PygTransform(MINE)(some, rng(2)).edge_index)
    assert torch.equal(found.features["image"], some.features["image"])
    assert torch.equal(found.item_edge_index, some.item_edge_index)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"many": True}, "the transform returned tuple, expected one HeteroData"),
        ({"nodes": 50}, "the transform left 50 users and 28 items; it must keep the nodes"),
    ],
)
def test_what_is_no_view_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        PygTransform(MINE, options)(view(), rng())


@pytest.mark.parametrize("path", ["nowhere.Transform", "torch_geometric.transforms.Nothing", "Alone"])
def test_a_transform_that_is_not_there_is_one_line(path: str) -> None:
    with pytest.raises(GraphError, match=f"PygTransform.transform is '{path}', which cannot be made"):
        PygTransform(path)


def test_node_drop_works_in_a_pair() -> None:
    first, second = NodeDrop(0.3).pair(view(), rng())
    assert first.num_users == second.num_users == 48
