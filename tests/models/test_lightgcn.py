from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mmrec.errors import GraphError
from mmrec.graph.view import GraphView
from mmrec.models.base import Recommender, embedding_table
from mmrec.models.bprmf import BPRMF
from mmrec.models.lightgcn import LightGCN
from tests.cases import by_hand
from tests.cases.by_hand import (
    ITEMS,
    NEGATIVES,
    USERS,
    Array,
    assert_gradients,
    numerical_gradient,
    result_of,
    view64,
)
from tests.cases.planted import tiny_view


def losses_by_hand(table: Array, *, n_layers: int, reg: float, l2: str) -> dict[str, float]:
    """LightGCN's formulas: BPR on the mean of layers, L2 on the batch's rows of layer 0."""
    users, items = by_hand.mean_of_layers(view64(), table, n_layers)
    losses = {"bpr": by_hand.bpr(users[USERS], items[ITEMS], items[NEGATIVES])}
    ego = [table[USERS], table[5 + np.array(ITEMS)], table[5 + np.array(NEGATIVES)]]
    if l2 == "squared":
        penalty = 0.5 * sum((rows**2).sum() for rows in ego) / len(USERS)
    else:
        penalty = sum(np.sqrt((rows**2).sum()) for rows in ego) / len(USERS)
    return losses | ({"l2": reg * penalty} if reg else {})


@pytest.mark.parametrize("n_layers", [0, 1, 2, 3])
@pytest.mark.parametrize(("reg", "l2"), [(0.0, "squared"), (0.3, "squared"), (0.3, "unsquared")])
def test_losses_and_gradients_by_hand(n_layers: int, reg: float, l2: Any) -> None:
    model = LightGCN(view64(), dim=3, n_layers=n_layers, reg=reg, l2=l2).double()
    by_hand.set_by_formula(model)
    found = result_of(model, view64())
    at = by_hand.parameters_of(model)
    assert found.losses == pytest.approx(
        losses_by_hand(at["table"], n_layers=n_layers, reg=reg, l2=l2), rel=1e-9
    )
    expected = numerical_gradient(
        lambda values: sum(losses_by_hand(values["table"], n_layers=n_layers, reg=reg, l2=l2).values()), at
    )
    assert_gradients(found.gradients, expected)


def test_the_defaults_are_the_papers() -> None:
    model = LightGCN(tiny_view())
    assert (model.table.shape[1], model.n_layers, model.reg, model.l2) == (64, 3, 1e-4, "squared")


def test_without_layers_it_is_matrix_factorisation() -> None:
    view = tiny_view()
    model, factors = LightGCN(view, dim=4, n_layers=0), BPRMF(view, dim=4)
    factors.load_state_dict(model.state_dict())
    out = model.embed(view)
    assert torch.equal(torch.cat([out.users, out.items]), model.table)
    assert result_of(model, view).losses == result_of(factors, view).losses


def test_two_nodes_share_the_mean_after_a_layer() -> None:
    view = GraphView(1, 1, torch.zeros(2, 1, dtype=torch.int64))
    model = LightGCN(view, dim=2, n_layers=1)
    out = model.embed(view)
    mean = model.table.mean(dim=0, keepdim=True)
    assert torch.allclose(out.users, mean)
    assert torch.allclose(out.items, mean)


def test_isolated_nodes_keep_their_own_row_divided_by_the_layers() -> None:
    view = tiny_view()
    model = LightGCN(view, dim=4, n_layers=3)
    out = model.embed(view)
    assert torch.allclose(out.users[4], model.table[4] / 4)
    assert torch.allclose(out.items[5], model.table[10] / 4)


def test_scores_by_hand() -> None:
    model = LightGCN(view64(), dim=3, n_layers=2).double()
    by_hand.set_by_formula(model)
    users, items = by_hand.mean_of_layers(view64(), by_hand.parameters_of(model)["table"], 2)
    found = model.score(model.for_ranking(model.embed(view64())), torch.tensor([3, 0]))
    assert np.allclose(found.detach(), users[[3, 0]] @ items.T)


def test_clicks_that_weigh_more_pull_more() -> None:
    view = view64()
    weight = torch.ones(10, dtype=torch.float64)
    weight[0] = 9.0
    heavy = replace(view, edge_weight=weight)
    model = LightGCN(view, dim=3, n_layers=1).double()
    users, items = by_hand.mean_of_layers(heavy, by_hand.parameters_of(model)["table"], 1)
    out = model.embed(heavy)
    assert np.allclose(out.users.detach(), users)
    assert np.allclose(out.items.detach(), items)


def test_one_penalty_per_drawn_row_even_if_repeated() -> None:
    model = LightGCN(tiny_view(), dim=2, n_layers=0, reg=1.0)
    with torch.no_grad():
        model.table.fill_(1.0)
    assert result_of(model, tiny_view()).losses["l2"] == pytest.approx(0.5 * 3 * 2)  # 3 rows of 2 ones a pair


def test_initialisation() -> None:
    torch.manual_seed(0)
    table = embedding_table((2000, 30), 50, "normal").detach()
    assert float(table.std()) == pytest.approx(0.1, rel=0.02)
    assert float(table.mean()) == pytest.approx(0, abs=2e-3)
    table = embedding_table((2000, 30), 50, "xavier").detach()
    users, items = table[:2000], table[2000:]
    for block in (users, items):  # each is uniform within its own bound, by its own shape
        bound = (6 / (len(block) + 50)) ** 0.5
        assert float(block.abs().max()) <= bound
        assert float(block.abs().max()) > 0.98 * bound
        assert float(block.std()) == pytest.approx(bound / 3**0.5, rel=0.05)


def test_a_negative_number_of_layers_is_one_line() -> None:
    with pytest.raises(GraphError, match="number of layers is -1"):
        LightGCN(tiny_view(), n_layers=-1).embed(tiny_view())


def test_gradients_do_not_reach_rows_the_batch_has_no_path_to() -> None:
    view = GraphView(3, 3, torch.tensor([[0, 1, 2], [0, 1, 2]]))
    model: Recommender = LightGCN(view, dim=2, n_layers=2, reg=0.0)
    users = model.embed(view).users[0].sum()
    users.backward()
    table = model.get_parameter("table")
    assert table.grad is not None
    assert table.grad.any(dim=1).tolist() == [True, False, False, True, False, False]


def test_the_start_comes_from_torchs_generator_alone() -> None:
    def start(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return LightGCN(tiny_view(), dim=8).table

    with torch.random.fork_rng():
        assert torch.equal(start(1), start(1))
        assert not torch.equal(start(1), start(2))
