from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec.errors import GraphError
from mmrec.graph import matrices, ops
from mmrec.graph.matrices import item_matrix, user_item_matrix
from mmrec.graph.ops import Readout, propagate, smooth, sparse_matrix
from mmrec.graph.view import GraphView
from tests.cases.planted import dense_adjacency, dense_item_graph, rng, tiny_view, views, without_clicks

READOUTS: tuple[Readout, ...] = ("mean", "sum", "last")


def dense_smooth(matrix: np.ndarray, x: np.ndarray, n_layers: int, readout: Readout) -> np.ndarray:
    layers = [x]
    for _ in range(n_layers):
        layers.append(matrix @ layers[-1])
    if readout == "last":
        return layers[-1]
    return sum(layers) / (len(layers) if readout == "mean" else 1)  # type: ignore[return-value]


@settings(max_examples=80, deadline=None)
@given(view=views())
def test_the_user_item_matrix_click_by_click(view: GraphView) -> None:
    expected = dense_adjacency(view)
    # A product, as a repeated click has several entries in one place, which only have to be added there.
    found = user_item_matrix(view).multiply(torch.eye(len(expected))).numpy()
    assert np.allclose(found, expected, atol=1e-6)
    assert np.allclose(found, found.T, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(view=views())
def test_no_eigenvalue_beyond_one_and_roots_of_degrees_are_kept(view: GraphView) -> None:
    size = view.num_users + view.num_items
    matrix = user_item_matrix(view).multiply(torch.eye(size)).double()
    assert float(torch.linalg.eigvalsh(matrix).abs().max()) <= 1 + 1e-6
    weight = torch.ones(view.edge_index.shape[1]) if view.edge_weight is None else view.edge_weight
    nodes = torch.cat([view.edge_index[0], view.edge_index[1] + view.num_users])
    root = torch.zeros(size).index_add_(0, nodes, weight.repeat(2)).sqrt()
    assert torch.allclose(user_item_matrix(view).multiply(root[:, None])[:, 0], root, atol=1e-5)


def test_no_layers_give_a_copy() -> None:
    x = torch.ones(11, 2)
    out = smooth(user_item_matrix(tiny_view()), x, n_layers=0)
    assert torch.equal(out, x)
    assert out.data_ptr() != x.data_ptr()


def test_two_nodes_swap_places() -> None:
    view = GraphView(1, 1, torch.zeros(2, 1, dtype=torch.int64))
    x = torch.tensor([[1.0, 2.0], [30.0, 40.0]])
    assert propagate(user_item_matrix(view), x).tolist() == [[30, 40], [1, 2]]
    assert smooth(user_item_matrix(view), x, n_layers=1).tolist() == [[15.5, 21], [15.5, 21]]


def test_nodes_without_clicks_have_empty_rows() -> None:
    view = tiny_view()
    out = propagate(user_item_matrix(view), torch.ones(11, 2))
    assert (out[[4, 10]] == 0).all()
    assert (out[[0, 1, 2, 3, 5, 6, 7, 8, 9]] > 0).all()


@settings(max_examples=60, deadline=None)
@given(
    view=views(),
    n_layers=st.integers(0, 4),
    readout=st.sampled_from(READOUTS),
    width=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_smooth_and_its_gradient_against_dense_loops(
    view: GraphView, n_layers: int, readout: Readout, width: int, seed: int
) -> None:
    matrix = dense_adjacency(view)
    x = torch.randn(len(matrix), width, generator=rng(seed)).requires_grad_()
    coming = torch.randn(len(matrix), width, generator=rng(seed + 100))
    out = smooth(user_item_matrix(view), x, n_layers=n_layers, readout=readout)
    out.backward(coming)
    assert x.grad is not None
    expected = dense_smooth(matrix, x.detach().double().numpy(), n_layers, readout)
    assert np.allclose(out.detach().numpy(), expected, atol=1e-5)
    gradient = dense_smooth(matrix.T, coming.double().numpy(), n_layers, readout)
    assert np.allclose(x.grad.numpy(), gradient, atol=1e-5)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("n_layers", [0, 1, 2, 3])
def test_gradcheck_in_float64(n_layers: int, readout: Readout) -> None:
    view = tiny_view(dtype=torch.float64)
    x = torch.randn(11, 2, generator=rng(), dtype=torch.float64, requires_grad=True)
    items = torch.randn(6, 2, generator=rng(), dtype=torch.float64, requires_grad=True)

    def on_clicks(x: torch.Tensor) -> torch.Tensor:
        return smooth(user_item_matrix(view), x, n_layers=n_layers, readout=readout)

    def on_items(x: torch.Tensor) -> torch.Tensor:
        return smooth(item_matrix(view), x, n_layers=n_layers, readout=readout)

    assert torch.autograd.gradcheck(on_clicks, (x,))
    assert torch.autograd.gradcheck(on_items, (items,))


def test_backward_of_the_item_graph_goes_against_its_links() -> None:
    view = tiny_view()
    dense = dense_item_graph(view)
    assert not np.allclose(dense, dense.T)
    x = torch.randn(6, 2, generator=rng()).requires_grad_()
    coming = torch.randn(6, 2, generator=rng(1))
    for n_layers in (1, 2):
        x.grad = None
        out = smooth(item_matrix(view), x, n_layers=n_layers, readout="last")
        out.backward(coming)
        power = np.linalg.matrix_power(dense, n_layers)
        assert np.allclose(out.detach(), power @ x.detach().numpy(), atol=1e-5)
        assert x.grad is not None
        assert np.allclose(x.grad, power.T @ coming.numpy(), atol=1e-5)


def test_one_step_may_change_the_number_of_rows() -> None:
    row, col = torch.tensor([0, 2, 0]), torch.tensor([1, 0, 3])
    matrix = sparse_matrix(row, col, torch.tensor([2.0, 3.0, 5.0]), (3, 4))
    x = torch.arange(8.0).reshape(4, 2).requires_grad_()
    out = propagate(matrix, x)
    assert out.tolist() == [[2 * 2 + 5 * 6, 2 * 3 + 5 * 7], [0, 0], [0, 3]]
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[3, 3], [2, 2], [0, 0], [5, 5]]


def test_an_item_graph_without_weights_counts_one_each() -> None:
    view = replace(tiny_view(), item_edge_weight=None)
    out = propagate(item_matrix(view), torch.ones(6, 1))
    assert out[:, 0].tolist() == [2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("backend", ["csr", "scatter"])
def test_nothing_of_uninitialised_memory_comes_through(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend == "scatter":
        pytest.importorskip("torch_scatter", reason="torch-scatter is not installed")

    def poisoned(
        *size: int, dtype: torch.dtype | None = None, device: torch.device | None = None
    ) -> torch.Tensor:
        return torch.full(size, float("nan"), dtype=dtype, device=device)

    for view in (tiny_view(), without_clicks(tiny_view())):
        view = replace(view, backend=backend)  # type: ignore[arg-type]
        user_item_matrix(view)
        x = torch.ones(11, 3, requires_grad=True)
        with monkeypatch.context() as patch:
            patch.setattr(torch, "empty", poisoned)
            assert torch.empty(2, 2).isnan().all()
            out = smooth(user_item_matrix(view), x, n_layers=3)
            out.sum().backward()
        assert out.isfinite().all()
        assert x.grad is not None
        assert x.grad.isfinite().all()


def test_nan_stays_where_the_graph_takes_it() -> None:
    view = tiny_view()
    x = torch.ones(11, 1)
    x[4] = float("nan")  # user 4 has no clicks
    assert propagate(user_item_matrix(view), x).isfinite().all()


@settings(max_examples=30, deadline=None)
@given(view=views(), n_layers=st.integers(0, 3), readout=st.sampled_from(READOUTS))
def test_scatter_equals_csr(view: GraphView, n_layers: int, readout: Readout) -> None:
    pytest.importorskip("torch_scatter", reason="torch-scatter is not installed")
    results = []
    for backend in ("csr", "scatter"):
        x = torch.randn(view.num_users + view.num_items, 3, generator=rng()).requires_grad_()
        out = smooth(user_item_matrix(replace(view, backend=backend)), x, n_layers=n_layers, readout=readout)  # type: ignore[arg-type]
        (out * torch.randn(out.shape, generator=rng(1))).sum().backward()
        results.append((out.detach(), x.grad))
    (values, gradient), (other_values, other_gradient) = results
    assert torch.allclose(values, other_values, atol=1e-6)
    assert torch.allclose(gradient, other_gradient, atol=1e-6)


def test_scatter_on_the_directed_item_graph() -> None:
    pytest.importorskip("torch_scatter", reason="torch-scatter is not installed")
    view = replace(tiny_view(), backend="scatter")
    matrix, dense = item_matrix(view), torch.from_numpy(dense_item_graph(view)).float()
    x = torch.randn(6, 2, generator=rng())
    assert torch.allclose(matrix.multiply(x), dense @ x, atol=1e-6)
    assert torch.allclose(matrix.multiply_transposed(x), dense.T @ x, atol=1e-6)


def test_without_torch_scatter_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch_scatter", None)
    view = replace(tiny_view(), backend="scatter")
    with pytest.raises(GraphError, match="needs torch-scatter, which is not installed"):
        propagate(user_item_matrix(view), torch.ones(11, 1))


def test_matrices_are_made_once_per_view(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []
    build = matrices.csr

    def counted(
        row: torch.Tensor, col: torch.Tensor, weight: torch.Tensor, shape: tuple[int, int], **order: Any
    ) -> torch.Tensor:
        made.append(shape)
        return build(row, col, weight, shape, **order)

    monkeypatch.setattr(matrices, "csr", counted)
    monkeypatch.setattr(ops, "csr", counted)
    view = tiny_view()
    for _ in range(3):
        assert user_item_matrix(view) is user_item_matrix(view)
    assert made == [(11, 11)]  # symmetric: its transpose is itself
    for _ in range(3):
        assert item_matrix(view) is item_matrix(view)
    assert made == [(11, 11), (6, 6), (6, 6)]
    user_item_matrix(tiny_view())
    assert len(made) == 4


def test_indices_are_sorted_and_half_as_wide() -> None:
    csr = user_item_matrix(tiny_view()).csr
    assert csr.crow_indices().dtype == csr.col_indices().dtype == torch.int32
    torch.sparse_csr_tensor(
        csr.crow_indices(), csr.col_indices(), csr.values(), csr.shape, check_invariants=True
    )


def test_errors_are_one_line() -> None:
    with pytest.raises(GraphError, match=r"needs an item graph and the data has none"):
        item_matrix(tiny_view(item_graph=False))
    with pytest.raises(GraphError, match="number of layers is -1, expected at least 0"):
        smooth(user_item_matrix(tiny_view()), torch.ones(11, 1), n_layers=-1)
