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
    key = "clicks: user_item"
    if key not in view.derived:
        users, items = view.edge_index[0], view.edge_index[1] + view.num_users
        row, col = torch.cat([users, items]), torch.cat([items, users])
        size, weight = view.num_users + view.num_items, normalised_weights(view)
        if "clicks: order" not in view.derived:
            view.derived["clicks: order"] = torch.argsort(row * size + col)
        order = view.derived["clicks: order"]
        matrix = csr(row, col, torch.cat([weight, weight]), (size, size), order=order)
        view.derived[key] = SparseMatrix(matrix, matrix, view.backend)
    if view.inside or view.layers or view.low_rank:
        plain, key = view.derived[key], "layers: user_item"
        if key not in view.derived:
            layers = tuple(user_item_matrix(layer) for layer in view.layers)
            low_rank = None if view.low_rank is None else _both_ways(*view.low_rank)
            view.derived[key] = replace(plain, inside=view.inside, layers=layers, low_rank=low_rank)
    found: SparseMatrix = view.derived[key]
    return found


def random_walk_matrix(view: GraphView) -> SparseMatrix:
    """D^-1 (A + I) over users and items, A the clicks, D the degrees with the loop: [U + I, U + I].

    What the released code of LATTICE and NGCF propagates over. Made once per view.
    """
    key = "clicks: random_walk"
    if key not in view.derived:
        users, items = view.edge_index[0], view.edge_index[1] + view.num_users
        size = view.num_users + view.num_items
        itself = torch.arange(size, device=users.device)
        weight = _weights(view.edge_weight, users)
        row, col = torch.cat([users, items, itself]), torch.cat([items, users, itself])
        value = torch.cat([weight, weight, weight.new_ones(size)])
        degree = value.new_zeros(size).index_add_(0, row, value)
        view.derived[key] = sparse_matrix(row, col, value / degree[row], (size, size), backend=view.backend)
    found: SparseMatrix = view.derived[key]
    return found


def with_inside(view: GraphView, change: Inside) -> GraphView:
    """A view whose propagation changes its layers, with this one's matrix, made here if need be."""
    user_item_matrix(view)
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
    if "clicks: plain" not in view.derived:
        users, items = view.edge_index
        weight = _weights(view.edge_weight, users)
        shape = (view.num_users, view.num_items)
        view.derived["clicks: plain"] = sparse_matrix(users, items, weight, shape, backend=view.backend)
    found: SparseMatrix = view.derived["clicks: plain"]
    return found


def frozen_matrix(
    view: GraphView, name: str, size: int, build: Callable[[], Edges], *, dtype: torch.dtype = torch.float32
) -> SparseMatrix:
    """A [size, size] graph that is made of the clean view once, and shared by all views made from it.

    Args:
        view: the clean view at the first call, in a model's constructor.
        name: what it is, with its options.
        size: number of nodes.
        build: makes int64 [2, n] (receiver, neighbour) and float [n].
        dtype: of what it will be multiplied with.
    """
    device = view.edge_index.device
    if name not in view.frozen:
        view.frozen[name] = build()
    key = f"{name} on {device} in {dtype}"
    if key not in view.frozen:
        index, weight = (part.to(device) for part in view.frozen[name])
        shape = (size, size)
        view.frozen[key] = sparse_matrix(index[0], index[1], weight.to(dtype), shape, backend=view.backend)
    found: SparseMatrix = view.frozen[key]
    return found


def item_matrix(view: GraphView) -> SparseMatrix:
    """The item-item graph as it stands in the view: [I, I]; made once per view.

    Raises:
        GraphError: if the view has no item graph.
    """
    if view.item_edge_index is None:
        raise GraphError("the model needs an item graph and the data has none; give features or graph.edges")
    if "links: item" not in view.derived:
        row, col = view.item_edge_index
        shape = (view.num_items, view.num_items)
        weight = _weights(view.item_edge_weight, row)
        view.derived["links: item"] = sparse_matrix(row, col, weight, shape, backend=view.backend)
    found: SparseMatrix = view.derived["links: item"]
    return found


def _weights(weight: Tensor | None, like: Tensor) -> Tensor:
    return torch.ones(len(like), device=like.device) if weight is None else weight
