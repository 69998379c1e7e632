from __future__ import annotations

import pytest
import torch

from mmrec.augment.node_drop import NodeDrop
from mmrec.errors import GraphError
from mmrec.graph.view import GraphView
from tests.cases.planted import rng


def test_a_dropped_node_loses_all_its_clicks_and_a_kept_pair_none() -> None:
    users, items = 30, 20
    view = GraphView(
        users, items, torch.cartesian_prod(torch.arange(users), torch.arange(items)).T.contiguous()
    )
    kept = NodeDrop(0.4)(view, rng()).edge_index
    there = torch.zeros(users, items, dtype=torch.bool)
    there[kept[0], kept[1]] = True
    rows, columns = there.any(dim=1), there.any(dim=0)
    assert torch.equal(there, rows[:, None] & columns), "what is left is all pairs of kept nodes"
    assert 0 < rows.sum() < users
    assert 0 < columns.sum() < items


def test_the_rate_is_that_of_nodes() -> None:
    view = GraphView(1, 1, torch.zeros(2, 1, dtype=torch.int64))
    source, draws = rng(1), 4000
    kept = sum(NodeDrop(0.3)(view, source).edge_index.shape[1] for _ in range(draws))
    assert kept / draws == pytest.approx(0.7**2, abs=4 * (0.49 * 0.51 / draws) ** 0.5)


def test_refused() -> None:
    with pytest.raises(GraphError, match=r"NodeDrop.drop is 1, expected"):
        NodeDrop(1)
