"""The search for what a model keeps finds a view wherever it is hidden, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref

import pytest
import torch

from mmrec.graph.matrices import item_matrix, user_item_matrix
from mmrec.graph.ops import sparse_matrix
from mmrec.graph.view import GraphView
from mmrec.models.base import Recommender
from mmrec.models.lightgcn import LightGCN
from tests.cases.holding import kept_of_view
from tests.cases.planted import tiny_view


def with_attribute(view: GraphView, value: object) -> Recommender:
    model = LightGCN(view, dim=4)
    model.embed(view).users.sum().backward()
    model.something = value  # type: ignore[assignment]
    return model


class Inner:
    def __init__(self, view: GraphView) -> None:
        self.view = view

    def look(self) -> GraphView:
        return self.view


HIDDEN: dict[str, Callable[[GraphView], Any]] = {
    "itself": lambda view: view,
    "in a list in a dict": lambda view: {"a": [0, (view,)]},
    "as a key": lambda view: {view: 1},
    "in an object": Inner,
    "in a bound method": lambda view: Inner(view).look,
    "in a closure": lambda view: lambda: view,
    "in a default": lambda view: lambda seen=view: seen,
    "in a partial": lambda view: partial(print, [view]),
    "of another augmentation": lambda view: view.with_edges(torch.arange(2)),
    "its clicks": lambda view: view.edge_index,
    "a part of its clicks": lambda view: [view.edge_index[1, 2:5]],
    "a copy of its clicks": lambda view: {"clicked": view.edge_index[1].clone()},
    "its clicks in numpy": lambda view: view.edge_index.numpy(),
    "its features": lambda view: torch.nn.Parameter(view.features["image"]),
    "its links": lambda view: view.item_edge_index,
    "its matrix": user_item_matrix,
    "its matrix's numbers": lambda view: user_item_matrix(view).csr.values(),
    "torch's matrix": lambda view: user_item_matrix(view).csr.to_dense().to_sparse(),
    "embeddings": lambda view: LightGCN(view, dim=4).embed(view),
}


@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN)
def test_it_is_found(hide: Callable[[GraphView], Any]) -> None:
    view = tiny_view()
    found = kept_of_view(with_attribute(view, hide(view)), view)
    assert found
    assert all("something" in path for path in found)


def test_what_is_not_the_views_is_not_found() -> None:
    view = tiny_view()
    others = [
        ref(view),
        view.features["image"].clone(),
        torch.arange(10),
        torch.rand(10),
        [*view.features],
        view.num_users,
    ]
    assert kept_of_view(with_attribute(view, others), view) == []


def test_a_graph_of_items_is_allowed_where_it_is_learned_and_not_the_views() -> None:
    view = tiny_view()
    learned = sparse_matrix(torch.arange(6), torch.arange(6), torch.ones(6), (6, 6))
    assert kept_of_view(with_attribute(view, learned), view)
    assert kept_of_view(with_attribute(view, learned), view, learned_items=True) == []
    assert kept_of_view(with_attribute(view, item_matrix(view)), view, learned_items=True)
    assert kept_of_view(with_attribute(view, user_item_matrix(view)), view, learned_items=True)
