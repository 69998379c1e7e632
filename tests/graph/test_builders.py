"""Graph builders against loops: co-occurrence, hypergraphs, interests, learned neighbours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec.errors import GraphError
from mmrec.graph import cooccurrence
from mmrec.graph.cooccurrence import cooccurrence_graph
from mmrec.graph.hypergraph import hypergraph_expansion, item_hyperedges, sharing
from mmrec.graph.interest import history_features, user_interest_graph
from mmrec.graph.item_graph import add_item_graph
from mmrec.graph.learned import gather_messages, learned_neighbours, symmetric
from mmrec.graph.view import GraphView
from tests.cases.by_hand import clicks_by_hand, nearest_by_hand, softmax
from tests.cases.planted import planted_blocks, rng, tiny_view, views


def dense(index: torch.Tensor, weight: torch.Tensor, size: int) -> np.ndarray:
    out = np.zeros((size, size))
    np.add.at(out, tuple(index.numpy()), weight.double().detach().numpy())
    return out


@settings(deadline=None)  # the first call imports scipy
@given(view=views(weighted=False), k=st.none() | st.integers(1, 4), kind=st.sampled_from(["items", "users"]))
def test_cooccurrence_counts_shared_partners(
    view: GraphView, k: int | None, kind: Literal["items", "users"]
) -> None:
    clicks = clicks_by_hand(view)
    counts = clicks.T @ clicks if kind == "items" else clicks @ clicks.T
    np.fill_diagonal(counts, 0)
    expected = np.zeros_like(counts)
    for node in range(len(counts)):
        best = sorted(range(len(counts)), key=lambda j: (-counts[node, j], j))[:k]
        expected[node, best] = counts[node, best]
    index, count = cooccurrence_graph(view, kind, k=k, weights="count")
    assert np.array_equal(dense(index, count, len(counts)), expected)


def test_weights_of_cooccurrence() -> None:
    view = tiny_view()
    index, count = cooccurrence_graph(view, "items", k=2, weights="count")
    counts = dense(index, count, 6)
    sums = counts.sum(axis=1)
    scale = np.array([one**-0.5 if one else 0.0 for one in sums])
    for weights, expected in (
        ("symmetric", scale[:, None] * counts * scale),
        ("mean", np.divide(counts, sums[:, None], out=np.zeros_like(counts), where=sums[:, None] > 0)),
    ):
        found = dense(*cooccurrence_graph(view, "items", k=2, weights=weights), 6)  # type: ignore[arg-type]
        assert np.allclose(found, expected)
    found = dense(*cooccurrence_graph(view, "items", k=2, weights="softmax"), 6)
    for node in range(6):
        some = counts[node] > 0
        assert np.allclose(found[node, some], softmax(counts[node, some]) if some.any() else [])


def test_cooccurrence_in_blocks_and_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = planted_blocks().data.train
    whole, view = cooccurrence_graph(plain, "users", k=3), replace(plain, cache_dir=tmp_path)
    monkeypatch.setattr(cooccurrence, "_ROWS", 5)
    parts = cooccurrence_graph(view, "users", k=3)
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))
    monkeypatch.setattr(cooccurrence, "_count", None)  # not counted again
    again = cooccurrence_graph(view, "users", k=3, weights="count")
    assert torch.equal(again[0], whole[0])
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(TypeError):  # other clicks, another key
        cooccurrence_graph(view.with_edges(torch.arange(7)), "users", k=3)
    with pytest.raises(GraphError, match="co-occurrence has k 0"):
        cooccurrence_graph(view, "items", k=0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=15))
def test_hypergraph_expansion_by_hand(pairs: list[tuple[int, int]]) -> None:
    members = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    incidence = np.zeros((5, 4))
    for item, edge in pairs:
        incidence[item, edge] = 1
    shared = incidence @ incidence.T
    scale = np.array([one**-0.5 if one else 0.0 for one in shared.sum(axis=1)])
    found = dense(*hypergraph_expansion(members, 5), 5)
    assert np.allclose(found, scale[:, None] * shared * scale, atol=1e-6)
    assert np.allclose(found, found.T)


@pytest.mark.parametrize("n_layers", [0, 1, 2])
def test_sharing_is_the_product_with_the_graph_it_never_makes(n_layers: int) -> None:
    """Users by shared clicks, items by shared hyperedges; a click that comes twice is one."""
    view = tiny_view()
    view = replace(view, edge_index=torch.cat([view.edge_index, view.edge_index[:, :2]], dim=1))
    users = dense(*cooccurrence_graph(view, "users", k=None, weights="mean"), 5)
    items = dense(*hypergraph_expansion(item_hyperedges(view, "test"), 6), 6)
    for name, kind, graph in (("users", "mean", users), ("items", "symmetric", items)):
        x = torch.randn(len(graph), 3, generator=rng(), dtype=torch.float64, requires_grad=True)
        found = sharing(view, name, kind, torch.float64).spread  # type: ignore[arg-type]
        expected = np.linalg.matrix_power(graph, n_layers) @ x.detach().numpy()
        assert np.allclose(found(x, n_layers).detach(), expected, atol=1e-6)
        assert torch.autograd.gradcheck(lambda x, found=found: found(x, n_layers), (x,))


def test_users_of_like_interests_are_near() -> None:
    view = tiny_view()
    clicks = clicks_by_hand(view) * view.present["text"].numpy()
    rows = clicks @ view.features["text"].numpy() / np.maximum(clicks.sum(axis=1, keepdims=True), 1)
    found, has_any = history_features(view, "text")
    assert np.allclose(found, rows, atol=1e-6)
    assert has_any.tolist() == [True, True, True, True, False]
    index, weight = user_interest_graph(view, "text", k=2)
    expected = {(i, j): cosine / 2 for i, j, cosine in nearest_by_hand(rows, 2, has_any.numpy())}
    assert {(i, j) for i, j in index.T.tolist()} == set(expected)
    for (i, j), value in zip(index.T.tolist(), weight.tolist(), strict=True):
        assert value == pytest.approx(expected[i, j], abs=1e-6)


@pytest.mark.parametrize("backend", ["auto", "csr"])
def test_histories_are_differentiable_in_the_features(backend: Literal["auto", "csr"]) -> None:
    """The native kernel's `multiply` knows no autograd: AlphaRec's adversary took users for constants."""
    view = replace(tiny_view(dtype=torch.float64), backend=backend)
    rows = view.features["text"].clone().requires_grad_()

    def histories(rows: torch.Tensor) -> torch.Tensor:
        return history_features(view.changed(features={**view.features, "text": rows}), "text")[0]

    assert torch.autograd.gradcheck(histories, (rows,))


def test_learned_neighbours_are_exact_and_differentiable() -> None:
    x = torch.randn(9, 4, generator=rng(), dtype=torch.float64, requires_grad=True)
    present = torch.arange(9) != 3
    index, cosine = learned_neighbours(x, present, k=3)
    expected = nearest_by_hand(x.detach().numpy(), 3, present.numpy())
    assert [tuple(pair) for pair in index.T.tolist()] == [(i, j) for i, j, _ in expected]
    assert np.allclose(cosine.detach(), [max(c, 0.0) for _, _, c in expected])

    def message(x: torch.Tensor) -> torch.Tensor:
        index, cosine = learned_neighbours(x, present, k=3)
        return gather_messages(index, symmetric(index, cosine, 9), x)

    graph = dense(index, symmetric(index, cosine, 9), 9)
    assert np.allclose(message(x).detach(), graph @ x.detach().numpy())
    assert torch.autograd.gradcheck(message, (x,), atol=1e-5)
    index, cosine = learned_neighbours(x, torch.zeros(9, dtype=torch.bool), k=3)
    assert index.shape == (2, 0)
    assert cosine.shape == (0,)


def test_clicks_in_the_item_graphs_weights() -> None:
    view = planted_blocks().data.train
    plain = add_item_graph(view, k=3, weights={"image": 1.0})
    mixed = add_item_graph(view, k=3, weights={"image": 0.75, "clicks": 0.25})
    size = view.num_items
    together = dense(*cooccurrence_graph(view, "items", k=3), size)
    assert plain.item_edge_index is not None
    assert plain.item_edge_weight is not None
    looks = dense(plain.item_edge_index, plain.item_edge_weight, size)
    clicked = together.sum(axis=1) > 0
    expected = np.where(clicked[:, None], 0.75 * looks + 0.25 * together, looks)  # new items: looks alone
    assert mixed.item_edge_index is not None
    assert mixed.item_edge_weight is not None
    assert np.allclose(dense(mixed.item_edge_index, mixed.item_edge_weight, size), expected, atol=1e-6)
