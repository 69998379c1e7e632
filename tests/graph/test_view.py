from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmrec.errors import GraphError
from mmrec.graph.hypergraph import item_hyperedges
from mmrec.graph.item_graph import add_item_graph
from mmrec.graph.matrices import item_matrix, user_item_matrix
from mmrec.graph.view import GraphView
from mmrec.models.lattice import LATTICE
from tests.cases.planted import assert_same_tensors, copies, tensors, tiny_view

CLICKS = torch.tensor([[0, 1], [2, 0]])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"edge_index": torch.zeros(3, 2, dtype=torch.int64)},
            r"edge_index is torch.int64 \(3, 2\), expected int64 \[2, n\]",
        ),
        ({"edge_index": torch.zeros(4, dtype=torch.int64)}, r"edge_index is torch.int64 \(4,\)"),
        ({"edge_index": CLICKS.int()}, "edge_index is torch.int32"),
        (
            {"edge_index": torch.tensor([[0, 2], [0, 0]])},
            r"edge_index reaches from \[0, 0\] to \[2, 0\], expected below \[2, 3\]",
        ),
        ({"edge_index": torch.tensor([[0, 1], [0, 3]])}, r"expected below \[2, 3\]"),
        ({"edge_index": torch.tensor([[0, -1], [0, 0]])}, r"edge_index reaches from \[-1, 0\]"),
        ({"edge_weight": torch.ones(3)}, r"edge_index has 2 edges and \(3,\) weights"),
        ({"edge_weight": torch.ones(2, 1)}, r"edge_index has 2 edges and \(2, 1\) weights"),
        (
            {"item_edge_index": torch.tensor([[0], [3]])},
            r"item_edge_index reaches from .* expected below \[3, 3\]",
        ),
        ({"item_edge_index": CLICKS, "item_edge_weight": torch.ones(1)}, "item_edge_index has 2 edges"),
        (
            {"features": {"image": torch.ones(2, 4)}},
            r"features\['image'\] has shape \(2, 4\), expected \[3, F\]",
        ),
        ({"features": {"image": torch.ones(3)}}, r"features\['image'\] has shape \(3,\)"),
        ({"features": {"image": torch.ones(3, 4)}}, r"features\['image'\] needs present\['image'\]"),
        (
            {"features": {"image": torch.ones(3, 4)}, "present": {"image": torch.ones(2, dtype=torch.bool)}},
            r"needs present\['image'\], a bool \[3\]",
        ),
        ({"features": {"image": torch.ones(3, 4)}, "present": {"image": torch.ones(3)}}, "a bool"),
    ],
)
def test_what_does_not_fit_is_one_line(fields: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"num_users": 2, "num_items": 3, "edge_index": CLICKS, **fields}
    with pytest.raises(GraphError, match=message) as error:
        GraphView(**given)
    assert "\n" not in str(error.value)


def test_a_view_without_clicks_is_a_view() -> None:
    GraphView(0, 0, torch.empty(2, 0, dtype=torch.int64))
    GraphView(3, 2, torch.empty(2, 0, dtype=torch.int64), torch.empty(0))


def test_it_cannot_be_set() -> None:
    view = tiny_view()
    with pytest.raises(FrozenInstanceError):
        view.num_users = 3  # type: ignore[misc]


def test_views_can_be_compared_and_kept_in_sets() -> None:
    view = tiny_view()
    assert view == view
    assert view != tiny_view()
    assert len({view, view}) == 1


@pytest.mark.parametrize("weighted", [False, True])
def test_with_edges(weighted: bool) -> None:
    view = tiny_view()
    weight = torch.arange(10.0)
    view = replace(view, edge_weight=weight if weighted else None)
    before = copies(view)
    mask = torch.tensor([1, 0, 0, 1, 0, 0, 0, 0, 1, 0]).bool()
    for keep in (mask, torch.tensor([0, 3, 8])):
        kept = view.with_edges(keep)
        assert kept.edge_index.T.tolist() == [[0, 0], [1, 1], [3, 3]]
        assert (kept.edge_weight is not None) is weighted
        if kept.edge_weight is not None:
            assert kept.edge_weight.tolist() == [0, 3, 8]
        assert kept.item_edge_index is view.item_edge_index
        assert kept.features is view.features
    assert view.with_edges(torch.tensor([8, 0])).edge_index.T.tolist() == [[3, 3], [0, 0]]
    assert_same_tensors(view, before)


def test_replace_starts_with_no_matrices() -> None:
    view = tiny_view()
    clicks, links = user_item_matrix(view), item_matrix(view)
    again = replace(view, edge_weight=torch.ones(10))
    assert user_item_matrix(again) is not clicks
    assert item_matrix(again) is not links


def test_other_clicks_keep_the_item_matrix_and_not_the_user_item_matrix() -> None:
    view = tiny_view()
    fewer = view.with_edges(torch.arange(5))
    assert item_matrix(fewer) is item_matrix(view)  # whichever view is asked first
    assert user_item_matrix(fewer) is not user_item_matrix(view)


def test_the_clean_view_is_where_augmentations_started() -> None:
    view = tiny_view()
    assert view.clean is view
    noisy = view.with_edges(torch.arange(5)).changed(features={"image": torch.zeros(6, 3)})
    assert noisy.clean is view
    other = replace(noisy, backend="csr")
    assert other.clean is other
    assert replace(noisy, backend="csr").changed(edge_weight=None).clean is not view


def test_what_is_frozen_is_made_of_the_clean_view_once() -> None:
    view = tiny_view()
    noisy = view.with_edges(torch.arange(5))

    def count(view: GraphView) -> Tensor:
        return torch.tensor(view.edge_index.shape[1])

    found = noisy.freeze("clicks", count)
    assert found == 10
    assert view.freeze("clicks", count) is found
    assert view.changed(features={}, present={}).freeze("clicks", count) is found
    assert view.freeze("clicks again", count) is not found


def test_other_data_find_nothing_that_was_frozen() -> None:
    """Not the neighbours of the features that were there before."""
    view = tiny_view()
    model = LATTICE(view, dim=4)
    other = replace(view, features={name: rows.flip(0) for name, rows in view.features.items()})
    found = LATTICE(other, dim=4)._frozen(other, "image")[0]
    assert not torch.equal(found, model._frozen(view, "image")[0])
    fresh = replace(tiny_view(), features=other.features)
    assert torch.equal(found, model._frozen(fresh, "image")[0])


def test_to_the_device_it_is_on_is_the_view_itself() -> None:
    view = tiny_view()
    assert view.to("cpu") is view


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_to_moves_every_tensor() -> None:
    view = replace(tiny_view(), edge_weight=torch.ones(10))
    moved = view.to("cuda")
    assert {tensor.device.type for tensor in tensors(moved).values()} == {"cuda"}
    assert_same_tensors(moved.to("cpu"), copies(view))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_what_is_frozen_goes_along_to_a_device() -> None:
    view = add_item_graph(tiny_view(), k=3)
    noisy, found = view.with_edges(torch.arange(5)), view.freeze("sizes", lambda view: [view.num_items])
    for moved in (view.to("cuda"), view.to("cuda").with_edges(torch.arange(5)), noisy.to("cuda")):
        assert moved.freeze("sizes", lambda view: []) is found
        assert moved.clean.edge_index.device.type == "cuda"
        assert torch.equal(item_hyperedges(moved, "a test").cpu(), item_hyperedges(view, "a test"))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("item_graph", [False, True])
def test_to_torch_geometric_and_back(weighted: bool, item_graph: bool) -> None:
    view = tiny_view(item_graph=item_graph)
    view = replace(view, edge_weight=torch.rand(10) if weighted else None)
    data = view.to_pyg()
    data.validate()
    back = GraphView.from_pyg(data)
    assert (back.num_users, back.num_items) == (5, 6)
    assert_same_tensors(back, copies(view))


def test_messages_of_the_item_graph_flow_as_in_torch_geometric() -> None:
    from torch_geometric.nn import SimpleConv

    view = tiny_view()
    near = view.to_pyg()["item", "near", "item"]
    x = torch.randn(6, 3)
    theirs = SimpleConv(aggr="sum")(x, near.edge_index, near.edge_weight)
    assert torch.allclose(theirs, item_matrix(view).multiply(x), atol=1e-6)


def test_a_torch_geometric_transform_can_work_on_a_view() -> None:
    from torch_geometric.transforms import NormalizeFeatures

    view = tiny_view()
    before = copies(view)
    changed = GraphView.from_pyg(NormalizeFeatures(attrs=["image"])(view.to_pyg()))
    assert torch.allclose(changed.features["image"].sum(dim=1), torch.ones(6))
    assert torch.equal(changed.features["text"], view.features["text"])
    assert_same_tensors(view, before)


def test_a_graph_without_clicks_in_it_is_refused() -> None:
    from torch_geometric.data import HeteroData

    data = HeteroData()
    data["user"].num_nodes = 3
    with pytest.raises(GraphError, match=r"expected \('user', 'clicks', 'item'\)"):
        GraphView.from_pyg(data)
