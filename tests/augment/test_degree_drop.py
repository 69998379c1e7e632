from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import permutations
from math import floor, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec.augment.degree_drop import DegreeDrop
from mmrec.errors import GraphError
from mmrec.graph.matrices import user_item_matrix
from mmrec.graph.view import GraphView
from tests.cases.planted import dense_adjacency, rng, tiny_view, views, without_clicks


def pairs(view: GraphView) -> list[tuple[int, int]]:
    return [(user, item) for user, item in view.edge_index.T.tolist()]


@settings(max_examples=80, deadline=None)
@given(view=views(), percent=st.integers(1, 99), seed=st.integers(0, 999))
def test_exactly_as_many_as_asked_for_each_once_in_order(view: GraphView, percent: int, seed: int) -> None:
    kept = DegreeDrop(percent / 100)(view, rng(seed))
    clicks = pairs(view)
    assert kept.edge_index.shape[1] == (100 - percent) * len(clicks) // 100
    assert not Counter(pairs(kept)) - Counter(clicks)
    rest = iter(clicks)
    assert all(click in rest for click in pairs(kept))  # a subsequence: nothing twice, order as before


@pytest.mark.parametrize(
    ("drop", "clicks", "kept"), [(0.8, 118551, 23710), (0.9, 10, 1), (0.8, 10, 2), (0.7, 10, 3), (0.8, 4, 0)]
)
def test_counts_where_floating_point_is_treacherous(drop: float, clicks: int, kept: int) -> None:
    index = torch.stack([torch.arange(clicks), torch.arange(clicks) % 7])
    view = DegreeDrop(drop)(GraphView(clicks, 7, index), rng())
    assert view.edge_index.shape[1] == kept


def weights_of(view: GraphView) -> list[float]:
    clicks = pairs(view)
    users, items = Counter(user for user, _ in clicks), Counter(item for _, item in clicks)
    return [1 / sqrt(users[user] * items[item]) for user, item in clicks]


def drawn_one_after_the_other(weights: list[float], count: int) -> dict[frozenset[int], float]:
    """Chance of every set of `count`, drawn one at a time in proportion to weights, without putting back."""
    chances: dict[frozenset[int], float] = {}
    for order in permutations(range(len(weights)), count):
        chance, left = 1.0, sum(weights)
        for place in order:
            chance *= weights[place] / left
            left -= weights[place]
        chances[frozenset(order)] = chances.get(frozenset(order), 0.0) + chance
    return chances


@pytest.mark.parametrize("count", [1, 2, 3])
def test_chances_are_those_of_drawing_by_degree_without_putting_back(count: int) -> None:
    # Degrees: user 0 has 3, item 0 has 3; weights 1/3, 1/sqrt 3 (twice), 1/sqrt 3, 1/sqrt 6, 1/sqrt 2.
    view = GraphView(3, 4, torch.tensor([[0, 0, 0, 1, 2, 2], [0, 1, 2, 0, 0, 3]]))
    weights = weights_of(view)
    assert weights == pytest.approx([1 / 3, 3**-0.5, 3**-0.5, 3**-0.5, 6**-0.5, 2**-0.5])
    exact = drawn_one_after_the_other(weights, count)
    assert sum(exact.values()) == pytest.approx(1)
    augmentation, source, draws = DegreeDrop(1 - count / 6), rng(1), 6000
    places = {click: place for place, click in enumerate(pairs(view))}
    seen = Counter(
        frozenset(places[click] for click in pairs(augmentation(view, source))) for _ in range(draws)
    )
    assert set(seen) <= set(exact)
    # Pearson's statistic stays below what one run in 100,000 of a right sampler would exceed.
    statistic = sum((seen[kept] - draws * chance) ** 2 / (draws * chance) for kept, chance in exact.items())
    assert statistic < {1: 31.0, 2: 46.0, 3: 55.0}[count]
    uniform = sum((seen[kept] - draws / len(exact)) ** 2 / (draws / len(exact)) for kept in exact)
    assert uniform > 300  # a sampler that ignores degrees would be found out


def test_degrees_are_counted_again_on_what_is_kept() -> None:
    view = DegreeDrop(0.5)(tiny_view(), rng(3))
    expected = dense_adjacency(view)
    assert torch.allclose(user_item_matrix(view).multiply(torch.eye(11)).double(), torch.from_numpy(expected))


def test_weights_stay_with_their_clicks() -> None:
    view = replace(tiny_view(), edge_weight=torch.arange(10.0))
    kept = DegreeDrop(0.5)(view, rng())
    assert kept.edge_weight is not None
    assert [pairs(view)[int(place)] for place in kept.edge_weight] == pairs(kept)


def test_everything_but_clicks_is_shared() -> None:
    view = tiny_view()
    kept = DegreeDrop(0.5)(view, rng())
    assert kept.item_edge_index is view.item_edge_index
    assert kept.features is view.features


def test_no_clicks() -> None:
    assert DegreeDrop(0.5)(without_clicks(tiny_view()), rng()).edge_index.shape == (2, 0)


@pytest.mark.parametrize("drop", [-0.1, 1.0, 1.5, float("nan")])
def test_rates_out_of_range(drop: float) -> None:
    with pytest.raises(GraphError, match=f"DegreeDrop.drop is {drop}, expected at least 0 and below 1"):
        DegreeDrop(drop)


def test_the_seed_of_an_epoch_is_the_generators_state() -> None:
    view, source = GraphView(50, 20, torch.stack([torch.arange(50), torch.arange(50) % 20])), rng()
    first, second = (pairs(DegreeDrop(0.5)(view, source)) for _ in range(2))
    assert first != second
    assert floor(0.5 * 50) == len(first)
    assert pairs(DegreeDrop(0.5)(view, rng())) == first
