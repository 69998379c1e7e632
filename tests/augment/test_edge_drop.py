from __future__ import annotations

from math import sqrt

import pytest
import torch

from mmrec.augment.base import Compose
from mmrec.augment.degree_drop import DegreeDrop
from mmrec.augment.edge_drop import EdgeDrop
from mmrec.errors import GraphError
from mmrec.graph.view import GraphView
from tests.cases.planted import rng, tiny_view, without_clicks


@pytest.mark.parametrize("drop", [0.1, 0.5, 0.9])
def test_each_click_is_kept_at_the_rate_whatever_its_degrees(drop: float) -> None:
    clicks, draws = 40, 1500
    # Half of the clicks are user 0's, the others are of users and items with no other click.
    users = torch.cat([torch.zeros(20, dtype=torch.int64), torch.arange(1, 21)])
    view = GraphView(21, clicks, torch.stack([users, torch.arange(clicks)]))
    kept = torch.zeros(clicks)
    counts = []
    source, augmentation = rng(5), EdgeDrop(drop)
    for _ in range(draws):
        items = augmentation(view, source).edge_index[1]
        kept[items] += 1
        counts.append(len(items))
    spread = sqrt(draws * drop * (1 - drop))
    assert (kept - draws * (1 - drop)).abs().max() < 4.5 * spread
    # Independent draws: the number kept varies as a binomial's, not as a fixed count or all-or-nothing.
    variance = float(torch.tensor(counts).double().var())
    assert variance == pytest.approx(clicks * drop * (1 - drop), rel=0.2)


def test_order_is_kept_and_weights_follow() -> None:
    view = GraphView(10, 10, torch.arange(10).repeat(2, 1), torch.arange(10.0))
    kept = EdgeDrop(0.5)(view, rng())
    assert 0 < kept.edge_index.shape[1] < 10
    assert kept.edge_weight is not None
    assert kept.edge_index[0].tolist() == kept.edge_weight.tolist() == sorted(kept.edge_weight.tolist())


def test_no_clicks() -> None:
    assert EdgeDrop(0.5)(without_clicks(tiny_view()), rng()).edge_index.shape == (2, 0)


@pytest.mark.parametrize("drop", [-0.1, 1.0, float("nan")])
def test_rates_out_of_range(drop: float) -> None:
    with pytest.raises(GraphError, match=f"EdgeDrop.drop is {drop}"):
        EdgeDrop(drop)


def test_several_in_a_row_work_on_what_the_one_before_left() -> None:
    view = GraphView(50, 20, torch.stack([torch.arange(50), torch.arange(50) % 20]))
    both = Compose([DegreeDrop(0.5), EdgeDrop(0.5)])(view, rng())
    source = rng()
    by_hand = EdgeDrop(0.5)(DegreeDrop(0.5)(view, source), source)
    other = rng()
    other_order = DegreeDrop(0.5)(EdgeDrop(0.5)(view, other), other)
    assert torch.equal(both.edge_index, by_hand.edge_index)
    assert not torch.equal(both.edge_index, other_order.edge_index)
