"""What a view asks for inside propagation, against dense matrices; what is handed on to changed views."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmrec.graph.matrices import (
    click_matrix,
    frozen_matrix,
    item_matrix,
    random_walk_matrix,
    user_item_matrix,
    with_inside,
)
from mmrec.graph.ops import Readout, SparseMatrix, layer_outputs, smooth, smooth_rows
from mmrec.graph.view import GraphView
from tests.cases.by_hand import clicks_by_hand, view64
from tests.cases.planted import dense_adjacency, rng, tiny_view, views

READOUTS: list[Readout] = ["mean", "sum", "last", "mean_but_first"]


@dataclass(frozen=True)
class Add:
    """Adds its layer's number times `amount`."""

    amount: float

    def __call__(self, layer: Tensor, number: int) -> Tensor:
        return layer + self.amount * number


MATRICES = pytest.mark.parametrize("matrix", [user_item_matrix, random_walk_matrix])
Matrix = Callable[[GraphView], SparseMatrix]


def dense(matrix: Matrix, view: GraphView) -> np.ndarray:
    found: np.ndarray = matrix(view).csr.to_dense().numpy()
    return found


def read_out(layers: list[np.ndarray], readout: Readout) -> np.ndarray:
    if readout == "last":
        return layers[-1]
    layers = layers[1:] if readout == "mean_but_first" else layers
    total = np.sum(layers, axis=0)
    return total if readout == "sum" else total / len(layers)


def table(seed: int = 0) -> Tensor:
    return torch.randn(11, 3, generator=rng(seed), dtype=torch.float64, requires_grad=True)


@MATRICES
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_changes_after_each_layer_by_hand(readout: Readout, n_layers: int, matrix: Matrix) -> None:
    view = with_inside(with_inside(view64(), Add(0.5)), Add(-0.2))
    x, adjacency = table(), dense(matrix, view64())
    layers = [x.detach().numpy()]
    for number in range(1, n_layers + 1):
        layers.append(adjacency @ layers[-1] + 0.3 * number)
    found = smooth(matrix(view), x, n_layers=n_layers, readout=readout)
    assert np.allclose(found.detach(), read_out(layers, readout))


@MATRICES
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("n_layers", [1, 2, 4])
def test_a_graph_for_each_layer_by_hand(readout: Readout, n_layers: int, matrix: Matrix) -> None:
    clean = view64()
    parts = [clean.with_edges(torch.arange(10) % 3 != number) for number in range(3)]
    view = clean.changed(layers=tuple(parts))
    x = table()
    layers = [x.detach().numpy()]
    for number in range(n_layers):  # the fourth layer starts again with the first graph
        layers.append(dense(matrix, parts[number % 3]) @ layers[-1])
    found = smooth(matrix(view), x, n_layers=n_layers, readout=readout)
    assert np.allclose(found.detach(), read_out(layers, readout))


@MATRICES
def test_low_rank_layers_start_from_the_clean_ones(matrix: Matrix) -> None:
    clean = view64()
    users, items = (torch.randn(n, 2, generator=rng(n), dtype=torch.float64) for n in (5, 6))
    view = clean.changed(low_rank=(users, items))
    stands_for = np.zeros((11, 11))
    stands_for[:5, 5:] = users @ items.T
    stands_for[5:, :5] = items @ users.T
    x, adjacency = table(), dense(matrix, clean)
    start = x.detach().numpy()
    expected = [start, stands_for @ start, stands_for @ adjacency @ start]
    found = layer_outputs(matrix(view), x, 2)
    for one, other in zip(found, expected, strict=True):
        assert np.allclose(one.detach(), other)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("backend", ["native", "csr"])
def test_rows_and_gradients_are_those_of_the_whole(readout: Readout, n_layers: int, backend: str) -> None:
    view = replace(view64(), backend=backend)  # type: ignore[arg-type]
    nodes = torch.tensor([0, 7, 7, 10, 3])
    adjacency = dense_adjacency(view64())
    powers = [np.linalg.matrix_power(adjacency, n) for n in range(n_layers + 1)]
    operator = read_out(powers, readout)
    x = table()
    final, first = smooth_rows(user_item_matrix(view), x, nodes, n_layers=n_layers, readout=readout)
    assert np.allclose(final.detach(), (operator @ x.detach().numpy())[nodes])
    weights = torch.randn(5, 3, generator=rng(1), dtype=torch.float64)
    ((final * weights).sum() + (first * weights.flip(0)).sum()).backward()
    coming, straight = np.zeros((11, 3)), np.zeros((11, 3))
    np.add.at(coming, nodes.numpy(), weights.numpy())
    np.add.at(straight, nodes.numpy(), weights.flip(0).numpy())
    assert x.grad is not None
    assert np.allclose(x.grad, operator.T @ coming + straight)
    y = table()
    (smooth(user_item_matrix(view), y, n_layers=n_layers, readout=readout)[nodes] * weights).sum().backward()
    assert y.grad is not None
    assert np.allclose(y.grad, operator.T @ coming)


def test_the_random_walk_matrix_has_rows_that_sum_to_one() -> None:
    view = view64()
    dense = random_walk_matrix(view).csr.to_dense().numpy()
    plain = np.block(
        [[np.zeros((5, 5)), clicks_by_hand(view)], [clicks_by_hand(view).T, np.zeros((6, 6))]]
    ) + np.eye(11)
    assert np.allclose(dense, plain / plain.sum(axis=1, keepdims=True))
    assert np.allclose(dense.sum(axis=1), 1)


def test_clicks_as_they_are() -> None:
    view = view64()
    assert np.allclose(click_matrix(view).csr.to_dense(), clicks_by_hand(view))


def test_what_did_not_change_is_handed_on() -> None:
    view = tiny_view()
    clicks, links = user_item_matrix(view), item_matrix(view)
    noisy = with_inside(view, Add(1.0))
    assert user_item_matrix(noisy).csr is clicks.csr
    assert not user_item_matrix(noisy).is_plain
    assert item_matrix(noisy) is links
    features = {name: rows + 1 for name, rows in view.features.items()}
    assert user_item_matrix(view.changed(features=features)) is clicks
    fewer = view.with_edges(torch.arange(4))
    assert user_item_matrix(fewer) is not clicks
    assert item_matrix(fewer) is links
    assert user_item_matrix(with_inside(noisy, Add(2.0))).inside == (Add(1.0), Add(2.0))
    relinked = view.changed(item_edge_index=view.item_edge_index.flip(0))  # type: ignore[union-attr]
    assert item_matrix(relinked) is not links
    assert user_item_matrix(relinked) is clicks


def test_what_is_made_of_a_noisy_view_is_there_in_the_next_step() -> None:
    view = tiny_view()
    noisy = with_inside(view, Add(1.0))
    made = random_walk_matrix(noisy).csr
    assert random_walk_matrix(with_inside(view, Add(2.0))).csr is made
    assert random_walk_matrix(view).csr is made
    assert random_walk_matrix(view).is_plain


def test_frozen_graphs_are_made_once_for_all_views_made_from_one() -> None:
    view, made = tiny_view(), []

    def build(clean: GraphView) -> tuple[Tensor, Tensor]:
        assert clean is view
        made.append(1)
        return torch.tensor([[0, 1], [1, 2]]), torch.ones(2)

    first = frozen_matrix(view.with_edges(torch.arange(2)), "chain", 6, build)
    assert frozen_matrix(view, "chain", 6, build) is first
    assert frozen_matrix(view, "chain", 6, build, dtype=torch.float64).csr.dtype == torch.float64
    assert made == [1]


@given(view=views(), share=st.floats(0, 1))
def test_dropping_clicks_from_a_sorted_graph_needs_no_sorting(view: GraphView, share: float) -> None:
    keep = torch.rand(view.edge_index.shape[1], generator=rng()) < share
    user_item_matrix(view)
    found = view.with_edges(keep)
    order = found.derive("clicks: order", lambda _: torch.empty(0))  # there already
    assert len(order) == 2 * found.edge_index.shape[1]
    assert np.allclose(user_item_matrix(found).csr.to_dense(), dense_adjacency(found), atol=1e-6)
    again = found.with_edges(keep[keep] & (torch.rand(int(keep.sum()), generator=rng(1)) < 0.5))
    row = user_item_matrix(again).csr
    assert np.allclose(row.to_dense(), dense_adjacency(again), atol=1e-6)
    for start, stop in itertools.pairwise(row.crow_indices().tolist()):
        assert row.col_indices()[start:stop].tolist() == sorted(row.col_indices()[start:stop].tolist())
