"""Pairs of views, RandomChoice, Scheduled, Compose over epochs, CorrelatedFeatureMask and PygTransform."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import HeteroData
from torch_geometric.transforms import BaseTransform

from mmrec.augment.base import Augmentation, Compose
from mmrec.augment.correlated_feature_mask import CorrelatedFeatureMask, mutual_information
from mmrec.augment.edge_drop import EdgeDrop
from mmrec.augment.feature_mask import FeatureMask
from mmrec.augment.node_drop import NodeDrop
from mmrec.augment.pyg_transform import PygTransform
from mmrec.augment.random_choice import RandomChoice
from mmrec.augment.random_walk import RandomWalk
from mmrec.augment.scheduled import Scheduled
from mmrec.augment.svd_view import SVDView
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
    for weights in (
        [1, float("nan")],
        [1, float("inf")],
        [0, 0],
        [2, -1],
        [1e39, 1],
        [3e38, 3e38],
        [1e-50, 0],
    ):
        with pytest.raises(GraphError, match=r"RandomChoice has 2 steps and weights .*, expected a finite"):
            RandomChoice([Mark(1), Mark(2)], weights=weights)


def test_a_schedule_is_a_straight_line_and_then_flat() -> None:
    plan = Scheduled(EdgeDrop(), start=0.1, end=0.5, epochs=5)
    strengths = [plan.at(epoch).drop for epoch in (1, 2, 3, 5, 9)]  # type: ignore[attr-defined]
    assert strengths == pytest.approx([0.1, 0.2, 0.3, 0.5, 0.5])
    some = view()
    assert_same_tensors(plan.at(5)(some, rng(2)), copies(EdgeDrop(0.5)(some, rng(2))))
    assert_same_tensors(plan(some, rng(2)), copies(EdgeDrop(0.1)(some, rng(2))))
    nested = Compose([RandomChoice([plan])]).at(3)
    assert nested.steps[0].steps[0].drop == pytest.approx(0.3)  # type: ignore[attr-defined]


def test_a_schedule_of_whole_numbers_is_rounded() -> None:
    walk = Scheduled(RandomWalk(0.25, n_layers=2), start=1, end=4, epochs=7, option="n_layers")
    assert [len(walk.at(epoch)(view(), rng()).layers) for epoch in (1, 2, 4, 7)] == [1, 2, 2, 4]  # 1.5, 2.5
    assert walk.at(7).drop == 0.25  # type: ignore[attr-defined]
    rank = Scheduled(SVDView(), start=1, end=5, epochs=5, option="rank")
    for epoch in range(1, 6):
        low = rank.at(epoch)(view(), rng()).low_rank
        assert low is not None
        assert low[0].shape[1] == epoch


class WithMore(Augmentation):
    """Keeps something that is no option, and something that is made of its option."""

    def __init__(self, share: float = 0.5) -> None:
        self.share, self.kept, self.cache = share, 1 - share, {"a": 1}

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        return view.with_edges(torch.arange(round(self.kept * view.edge_index.shape[1])))


class UnderAnotherName(Augmentation):
    def __init__(self, drop: float = 0.5, note: int = 2, which: str = "a") -> None:
        self.drop, self._note, self.which = drop, note, which

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        return view


def test_a_schedule_of_somebody_elses_class() -> None:
    plan = Scheduled(WithMore(), start=0.0, end=0.5, epochs=3, option="share")
    some = view()
    assert [plan.at(epoch)(some, rng()).edge_index.shape[1] for epoch in (1, 2, 3)] == [240, 180, 120]


def test_a_scheduled_pair_is_that_of_its_augmentation() -> None:
    masks = Scheduled(CorrelatedFeatureMask(clusters=3), start=2, end=3, option="groups")
    first, second = masks.pair(view(), rng())
    for name, rows in view().features.items():
        assert torch.equal(first.features[name] + second.features[name], rows)


@pytest.mark.parametrize(
    ("augmentation", "options", "message"),
    [
        (EdgeDrop(), {"option": "dorp"}, "EdgeDrop has no option 'dorp'; did you mean 'drop'"),
        (EdgeDrop(), {"end": 1.0}, r"EdgeDrop.drop is 1.0, expected at least 0 and below 1"),
        (EdgeDrop(), {"epochs": 0}, r"Scheduled.epochs is 0"),
        (EdgeDrop(), {"end": float("nan")}, r"Scheduled goes from 0.0 to nan, expected finite numbers"),
        (RandomWalk(), {"option": "n_layers"}, r"RandomWalk.n_layers is 0"),
        (WithMore(), {"option": "cache"}, r"WithMore has no option 'cache'"),
        (UnderAnotherName(), {"option": "which"}, r"UnderAnotherName.which is 'a', expected a number to"),
        (UnderAnotherName(), {"option": "note"}, r"UnderAnotherName.note is not kept under its name"),
        (
            RandomChoice([EdgeDrop()]),
            {"option": "weights"},
            r"RandomChoice.weights is \[1.0\], expected a num",
        ),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_refused_at_once(
    augmentation: Augmentation, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraphError, match=message):
        Scheduled(augmentation, **options)


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


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_mutual_information_is_between_nothing_and_either_entropy(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs).T
    value = mutual_information(first, second)
    entropies = []
    for one in (first, second):
        share = np.bincount(one) / len(one)
        entropies.append(-sum(p * np.log(p) for p in share if p))
    assert -1e-12 <= value <= min(entropies) + 1e-9
    assert mutual_information(second, first) == pytest.approx(value, abs=1e-12)


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
    """Blocks 0, 2 and 4 are the same numbers, so are 1, 3 and 5: a mask of four takes three that are."""
    draw = rng(3)
    one, other = (torch.randint(3, (60, 1), generator=draw).float() for _ in range(2))
    some = GraphView(
        2,
        60,
        torch.tensor([[0, 1], [0, 1]]),
        features={"image": torch.cat([one, other] * 3, dim=1)},
        present={"image": torch.ones(60, dtype=torch.bool)},
    )
    for seed in range(8):
        masked = CorrelatedFeatureMask(groups=6, clusters=3)(some, rng(seed)).features["image"]
        hidden = set((~masked.any(dim=0)).nonzero().squeeze(1).tolist())
        assert len(hidden) == 4
        assert {0, 2, 4} <= hidden or {1, 3, 5} <= hidden


def test_without_features_there_is_nothing_to_mask() -> None:
    plain = replace(tiny_view(), features={}, present={})
    assert CorrelatedFeatureMask()(plain, rng()) is plain
    for groups in (0, 1):
        with pytest.raises(GraphError, match=f"CorrelatedFeatureMask has groups {groups} and clusters 16"):
            CorrelatedFeatureMask(groups=groups)


@pytest.mark.parametrize(("columns", "hidden"), [(2, 1), (3, 2), (4, 3), (5, 3), (6, 4)])
def test_neither_view_hides_everything(columns: int, hidden: int) -> None:
    """Of k blocks 1 + floor(k / 2), as the paper has it, but never all."""
    some = replace(
        tiny_view(),
        features={"image": 1 + torch.rand(6, columns, generator=rng())},
        present={"image": torch.ones(6, dtype=torch.bool)},
    )
    for seed in range(4):
        pair = CorrelatedFeatureMask(groups=columns, clusters=2).pair(some, rng(seed))
        assert [int((~one.features["image"].any(dim=0)).sum()) for one in pair] == [hidden, columns - hidden]


def test_one_column_cannot_be_parted() -> None:
    some = replace(tiny_view(), features={"price": torch.ones(6, 1)}, present={"price": torch.ones(6) > 0})
    with pytest.raises(GraphError, match="finds no features but 'price', which is one column") as error:
        CorrelatedFeatureMask()(some, rng())
    assert "\n" not in str(error.value)


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
        ({"many": True}, "HalfOfTheClicks returned tuple, expected one HeteroData"),
        ({"nodes": 50}, "HalfOfTheClicks left 50 users and 28 items; it must keep the nodes"),
    ],
)
def test_what_is_no_view_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        PygTransform(MINE, options)(view(), rng())


@pytest.mark.parametrize(
    "path", ["nowhere.Transform", "torch_geometric.transforms.Nothing", "Alone", "..a.B"]
)
def test_a_transform_that_is_not_there_is_one_line(path: str) -> None:
    with pytest.raises(GraphError, match=f"PygTransform.transform is '{path}', which cannot be made"):
        PygTransform(path)


TRANSFORMS = "torch_geometric.transforms."


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("RandomLinkSplit", {"edge_types": [["user", "clicks", "item"]]}),
        ("KNNGraph", {}),
        ("LargestConnectedComponents", {}),
        ("LocalDegreeProfile", {}),
        ("SVDFeatureReduction", {"out_channels": 2}),
        ("ToSparseTensor", {}),
    ],
)
def test_a_transform_that_does_not_fit_is_one_line_with_its_name(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(GraphError, match=f"PygTransform: {name} ") as caught:
        PygTransform(TRANSFORMS + name, options)(view(), rng())
    assert "\n" not in str(caught.value)


def test_what_is_no_transform_is_refused_when_it_is_made() -> None:
    with pytest.raises(GraphError, match=r"'builtins.dict', which makes a dict, expected a transform"):
        PygTransform("builtins.dict")
    with pytest.raises(GraphError, match=r"which cannot be made \(TypeError: .*unexpected"):
        PygTransform(TRANSFORMS + "AddSelfLoops", {"nothing": 1})


def test_a_transform_that_changes_nothing_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    some = view()
    for attrs, said in ((["x"], 1), (["image"], 0)):
        caplog.clear()
        transform = PygTransform(TRANSFORMS + "NormalizeFeatures", {"attrs": attrs})
        for _ in range(3):
            transform(some, rng())
        messages = [record.getMessage() for record in caplog.records]
        assert len(messages) == said
        assert all("PygTransform: NormalizeFeatures left the graph as it was" in one for one in messages)


def test_features_are_normalised_by_hand() -> None:
    """NormalizeFeatures takes the smallest number off all, then divides each row by its sum."""
    some = view()
    found = PygTransform(TRANSFORMS + "NormalizeFeatures", {"attrs": ["image", "text"]})(some, rng())
    for name, rows in some.features.items():
        moved = rows.double().numpy() - rows.min().item()
        expected = moved / np.maximum(moved.sum(axis=1, keepdims=True), 1)
        assert np.allclose(found.features[name], expected, atol=1e-6)
    assert torch.equal(found.edge_index, some.edge_index)


def test_an_undirected_item_graph_has_both_ways() -> None:
    """The item graph goes through with its direction: link (receiver, neighbour), and back."""
    some = replace(
        tiny_view(),
        item_edge_index=torch.tensor([[0, 1, 4], [5, 0, 4]]),
        item_edge_weight=torch.tensor([1.0, 2, 3]),
    )
    same = PygTransform(TRANSFORMS + "Constant", {"node_types": "user"})(some, rng())
    assert torch.equal(same.item_edge_index, some.item_edge_index)  # type: ignore[arg-type]
    both = PygTransform(TRANSFORMS + "ToUndirected")(some, rng())
    assert both.item_edge_index is not None
    assert both.item_edge_weight is not None
    links = {
        (row, col): weight
        for row, col, weight in zip(
            *both.item_edge_index.tolist(), both.item_edge_weight.tolist(), strict=True
        )
    }
    assert links.keys() == {(0, 5), (5, 0), (1, 0), (0, 1), (4, 4)}
    assert links[0, 5] == links[5, 0] == 1
    assert links[0, 1] == links[1, 0] == 2
    assert torch.equal(both.edge_index, some.edge_index)


def test_node_drop_works_in_a_pair() -> None:
    first, second = NodeDrop(0.3).pair(view(), rng())
    assert first.num_users == second.num_users == 48
