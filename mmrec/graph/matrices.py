"""The matrices that models multiply with, made of a view once and kept beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from mmrec.errors import GraphError
from mmrec.graph.ops import SparseMatrix, csr, sparse_matrix
from mmrec.graph.view import GraphView, Inside

Edges = tuple[Tensor, Tensor]  # int64 [2, n] (receiver, neighbour) and float [n]


def user_item_matrix(view: GraphView) -> SparseMatrix:
    """The bipartite graph with symmetric normalisation, users first: [U + I, U + I].

    A_ui = w_ui / sqrt(d_u d_i) with weighted degrees d over the view's own clicks and no self loop (LightGCN,
    He et al. 2020, eq. 3); the row of a node without clicks is empty. Made once per view.
    """
    return _layered(view, "user_item", _user_item)


def random_walk_matrix(view: GraphView) -> SparseMatrix:
    """D^-1 (A + I) over users and items, A the clicks, D the degrees with the loop: [U + I, U + I].

    What the released code of LATTICE and NGCF propagates over. Made once per view. What a view has of low
    rank stands in for it as it does for `user_item_matrix`: symmetric, without the loop.
    """
    return _layered(view, "random_walk", _random_walk)


def _layered(view: GraphView, name: str, make: Callable[[GraphView], SparseMatrix]) -> SparseMatrix:
    """The matrix of the view's clicks, with what the view asks for inside propagation."""
    plain = view.derive(f"clicks: {name}", make)
    if not (view.inside or view.layers or view.low_rank):
        return plain

    def layered(view: GraphView) -> SparseMatrix:
        layers = tuple(_layered(layer, name, make) for layer in view.layers)
        low_rank = None if view.low_rank is None else _both_ways(*view.low_rank)
        return replace(plain, inside=view.inside, layers=layers, low_rank=low_rank)

    return view.derive(f"layers: {name}", layered)


def _user_item(view: GraphView) -> SparseMatrix:
    users, items = view.edge_index[0], view.edge_index[1] + view.num_users
    row, col = torch.cat([users, items]), torch.cat([items, users])
    size, weight = view.num_users + view.num_items, normalised_weights(view)
    matrix = csr(row, col, torch.cat([weight, weight]), (size, size), order=click_order(view))
    return SparseMatrix(matrix, matrix, view.backend)


def click_order(view: GraphView) -> Tensor:
    """Which of the clicks, and then of the clicks the other way, is at each place of the matrix: [2 E]."""

    def sort(view: GraphView) -> Tensor:
        users, items = view.edge_index[0], view.edge_index[1] + view.num_users
        place = torch.cat([users, items]) * (view.num_users + view.num_items)
        return torch.argsort(place + torch.cat([items, users]))

    return view.derive("clicks: order", sort)


def _random_walk(view: GraphView) -> SparseMatrix:
    users, items = view.edge_index[0], view.edge_index[1] + view.num_users
    size = view.num_users + view.num_items
    itself = torch.arange(size, device=users.device)
    weight = _weights(view.edge_weight, users)
    row, col = torch.cat([users, items, itself]), torch.cat([items, users, itself])
    value = torch.cat([weight, weight, weight.new_ones(size)])
    degree = value.new_zeros(size).index_add_(0, row, value)
    return sparse_matrix(row, col, value / degree[row], (size, size), backend=view.backend)


def with_inside(view: GraphView, change: Inside) -> GraphView:
    """A view whose propagation changes its layers."""
    return view.changed(inside=(*view.inside, change))


def normalised_weights(view: GraphView) -> Tensor:
    """w_ui / sqrt(d_u d_i) of each click, [E], with weighted degrees; 0 where a degree is."""
    users, items = view.edge_index
    weight = _weights(view.edge_weight, users)
    for nodes, count in ((users, view.num_users), (items, view.num_items)):
        degree = torch.zeros(count, device=weight.device, dtype=weight.dtype)
        degree.index_add_(0, nodes, _weights(view.edge_weight, users))
        weight = weight * degree.rsqrt().masked_fill_(degree <= 0, 0.0)[nodes]
    return weight


def _both_ways(users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of [[0, P Q'], [Q P', 0]] for P [U, q] and Q [I, q]: left and right, [U + I, 2 q] each."""
    no_users, no_items = torch.zeros_like(users), torch.zeros_like(items)
    left = torch.cat([torch.cat([users, no_users], dim=1), torch.cat([no_items, items], dim=1)])
    return left, left.roll(users.shape[1], dims=1)


def click_matrix(view: GraphView) -> SparseMatrix:
    """The clicks as they are, [U, I], w_ui or 1; made once per view."""

    def make(view: GraphView) -> SparseMatrix:
        users, items = view.edge_index
        weight = _weights(view.edge_weight, users)
        shape = (view.num_users, view.num_items)
        return sparse_matrix(users, items, weight, shape, backend=view.backend)

    return view.derive("clicks: plain", make)


def frozen_matrix(
    view: GraphView,
    name: str,
    size: int,
    build: Callable[[GraphView], Edges],
    *,
    dtype: torch.dtype = torch.float32,
) -> SparseMatrix:
    """A [size, size] graph that is made of the clean view once, and shared by all views made from it.

    Args:
        view: the clean view, or one that augmentations made of it.
        name: what it is, with its options.
        size: number of nodes.
        build: makes int64 [2, n] (receiver, neighbour) and float [n] of the clean view.
        dtype: of what it will be multiplied with.
    """
    device = view.edge_index.device

    def make(clean: GraphView) -> SparseMatrix:
        index, weight = (part.to(device) for part in clean.freeze(name, build))
        return sparse_matrix(index[0], index[1], weight.to(dtype), (size, size), backend=clean.backend)

    return view.freeze(f"{name} on {device} in {dtype}", make)


def item_matrix(view: GraphView) -> SparseMatrix:
    """The item-item graph as it stands in the view: [I, I]; made once per view.

    Raises:
        GraphError: if the view has no item graph.
    """
    index = view.item_edge_index
    if index is None:
        raise GraphError("the model needs an item graph and the data has none; give features or graph.edges")

    def make(view: GraphView) -> SparseMatrix:
        weight, shape = _weights(view.item_edge_weight, index[0]), (view.num_items, view.num_items)
        return sparse_matrix(index[0], index[1], weight, shape, backend=view.backend)

    return view.derive("links: item", make)


def _weights(weight: Tensor | None, like: Tensor) -> Tensor:
    return torch.ones(len(like), device=like.device) if weight is None else weight
