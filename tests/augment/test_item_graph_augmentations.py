"""ItemGraphMix, KNNRewire and HyperedgeView, with exact answers."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmrec.augment.base import Augmentation
from mmrec.augment.edge_drop import EdgeDrop
from mmrec.augment.hyperedge_view import HyperedgeView
from mmrec.augment.item_graph_mix import ItemGraphMix
from mmrec.augment.knn_rewire import KNNRewire
from mmrec.augment.scheduled import Scheduled
from mmrec.errors import GraphError
from mmrec.graph import hypergraph
from mmrec.graph.cooccurrence import cooccurrence_graph
from mmrec.graph.hypergraph import item_hyperedges
from mmrec.graph.item_graph import add_item_graph
from mmrec.graph.view import GraphView
from tests.cases.by_hand import nearest_by_hand
from tests.cases.planted import dense_item_graph, planted_blocks, rng, tiny_view


def links(view: GraphView) -> torch.Tensor:
    assert view.item_edge_index is not None
    return view.item_edge_index


def test_mixing_adds_cooccurrence() -> None:
    view = tiny_view()
    index, weight = cooccurrence_graph(view, "items", k=2)
    together = np.zeros((6, 6))
    together[tuple(index.numpy())] = weight
    clicked = together.sum(axis=1) > 0
    looks = dense_item_graph(view)
    expected = np.where(clicked[:, None], 0.6 * looks + 0.4 * together, looks)
    found = ItemGraphMix(share=0.4, k=2)(view, rng())
    assert np.allclose(dense_item_graph(found), expected, atol=1e-6)
    assert ItemGraphMix(share=0.4, k=2)(view, rng()).item_edge_index is found.item_edge_index  # made once


def test_of_the_mixes_of_a_schedule_the_last_is_kept() -> None:
    view = tiny_view()
    plan = Scheduled(ItemGraphMix(k=2), start=0.1, end=0.9, epochs=20, option="share")
    made = []
    for epoch in range(1, 21):
        found = plan.at(epoch)(view, rng())
        fresh = plan.at(epoch)(tiny_view(), rng())
        assert np.array_equal(dense_item_graph(found), dense_item_graph(fresh))
        assert plan.at(epoch)(view, rng()).item_edge_index is found.item_edge_index  # made once an epoch
        made += [weakref.ref(found.item_edge_index), weakref.ref(found.item_edge_weight)]
        del found
    gc.collect()
    assert [one() is not None for one in made] == [False] * 38 + [True] * 2
    with pytest.raises(GraphError, match=r"ItemGraphMix.k is 0, expected at least 1"):
        ItemGraphMix(k=0)


def test_what_is_mixed_in_is_of_the_clean_clicks() -> None:
    """Whoever comes before it in the epoch, and whoever asked first."""
    view = tiny_view()
    expected = dense_item_graph(ItemGraphMix(k=2)(tiny_view(), rng()))
    for seed in (1, 2):
        found = ItemGraphMix(k=2)(EdgeDrop(0.7)(view, rng(seed)), rng())
        assert np.array_equal(dense_item_graph(found), expected)


def test_rewired_links_lead_to_neighbours_of_neighbours() -> None:
    view = planted_blocks(blocks=2, users=6, items=8).data.train
    before, after = links(view), links(KNNRewire(0.999)(view, rng(2)))
    neighbours = {
        int(item): set(before[1][before[0] == item].tolist()) for item in before[0].unique().tolist()
    }
    assert torch.equal(before[0], after[0])
    for old, new in zip(before[1].tolist(), after[1].tolist(), strict=True):
        assert new in neighbours[old]
    changed = [(links(KNNRewire(0.3)(view, rng(seed)))[1] != before[1]).double().mean() for seed in range(40)]
    all_moved = [
        (links(KNNRewire(0.999)(view, rng(seed)))[1] != before[1]).double().mean() for seed in range(40)
    ]
    assert float(np.mean(changed)) == pytest.approx(0.3 * float(np.mean(all_moved)), rel=0.1)


def test_a_rewired_link_leads_to_each_neighbours_neighbour_alike() -> None:
    """Item 0's neighbour 1 has four of its own, item 2's neighbour 3 two: each is as likely as the others."""
    near = [(0, 1), (1, 0), (1, 2), (1, 3), (1, 4), (2, 3), (3, 1), (3, 5)]
    some = GraphView(
        1, 6, torch.zeros(2, 0, dtype=torch.int64), item_edge_index=torch.tensor(near).T.contiguous()
    )
    source, drop, count = rng(11), 0.6, 6000
    ends = torch.stack([links(KNNRewire(drop)(some, source))[1] for _ in range(count)])
    for place, stays, others in ((0, 1, (0, 2, 3, 4)), (5, 3, (1, 5))):
        expected = {stays: 1 - drop} | {other: drop / len(others) for other in others}
        found = {item: int((ends[:, place] == item).sum()) for item in ends[:, place].unique().tolist()}
        assert found.keys() == expected.keys()
        square = sum((found[one] - count * p) ** 2 / (count * p) for one, p in expected.items())
        assert square < 23.5  # chi-square of 4 degrees of freedom: 1 in 10,000
    moved = (ends[:, [0, 5]] != torch.tensor([1, 3])).double()
    assert float(torch.corrcoef(moved.T)[0, 1]) == pytest.approx(0, abs=0.05)  # each on its own


def test_rewiring_keeps_the_sums_of_rows() -> None:
    view = tiny_view()
    after = KNNRewire(0.7)(view, rng(1))
    assert np.allclose(dense_item_graph(after).sum(axis=1), dense_item_graph(view).sum(axis=1))


def test_a_neighbour_without_links_stays() -> None:
    view = replace(
        tiny_view(), item_edge_index=torch.tensor([[0, 1], [5, 0]]), item_edge_weight=torch.ones(2)
    )
    assert links(KNNRewire(0.99)(view, rng())).tolist() == [[0, 1], [5, 5]]
    empty = replace(
        view, item_edge_index=torch.zeros(2, 0, dtype=torch.int64), item_edge_weight=torch.ones(0)
    )
    assert links(KNNRewire(0.5)(empty, rng())).shape == (2, 0)


def test_items_are_linked_by_the_neighbours_they_share() -> None:
    view = tiny_view()
    incidence = np.zeros((6, 6))
    incidence[tuple(links(view).numpy())] = 1
    shared = incidence @ incidence.T
    scale = shared.sum(axis=1) ** -0.5
    found = HyperedgeView(0)(view, rng())
    assert np.allclose(dense_item_graph(found), scale[:, None] * shared * scale, atol=1e-6)


def test_hyperedges_are_dropped_whole() -> None:
    view = tiny_view()
    kept = torch.rand(6, generator=rng(7)) >= 0.5
    fewer = replace(
        view,
        item_edge_index=links(view)[:, kept[links(view)[1]]],
        item_edge_weight=torch.ones(int(kept[links(view)[1]].sum())),
    )
    expected = dense_item_graph(HyperedgeView(0)(fewer, rng()))
    assert np.allclose(dense_item_graph(HyperedgeView(0.5)(view, rng(7))), expected)


def test_modalities_hyperedges_stand_side_by_side() -> None:
    """With weights of 1/k, too, what is not alike at all is in no hyperedge."""
    view = add_item_graph(tiny_view(), k=4)
    parts = []
    for name, rows in view.features.items():
        members = np.zeros((6, 6))
        for item, other, cosine in nearest_by_hand(rows.double().numpy(), 4, view.present[name].numpy()):
            members[item, other] = cosine > 0
        parts.append(members)
    incidence = np.concatenate(parts, axis=1)
    assert 0 < incidence.sum() < 4 * 11  # item 3 has no text
    shared = incidence @ incidence.T
    scale = shared.sum(axis=1) ** -0.5
    expected = scale[:, None] * shared * scale
    assert np.allclose(dense_item_graph(HyperedgeView(0)(view, rng())), expected, atol=1e-6)
    some = incidence[:, incidence.any(axis=0)]
    kept = some[:, (torch.rand(some.shape[1], generator=rng(4)) >= 0.5).numpy()]
    shared = kept @ kept.T
    scale = np.array([one**-0.5 if one else 0.0 for one in shared.sum(axis=1)])
    found = dense_item_graph(HyperedgeView(0.5)(view, rng(4)))
    assert np.allclose(found, scale[:, None] * shared * scale, atol=1e-6)


def test_hyperedges_that_would_fill_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items with the same row have the same nearest: 40 of them, and 2 hyperedges that hold them all."""
    features = {"image": torch.cat([torch.ones(40, 5), torch.eye(5)])}
    present = {"image": torch.ones(45, dtype=torch.bool)}
    clicks = torch.zeros(2, 1, dtype=torch.int64)
    view = add_item_graph(GraphView(1, 45, clicks, features=features, present=present), k=3)
    sizes = torch.bincount(item_hyperedges(view, "a test")[1])
    links_at_most = int((sizes**2).sum())
    assert links_at_most >= 2 * 40**2
    monkeypatch.setattr(hypergraph, "MOST_LINKS", links_at_most)
    HyperedgeView()(view, rng())
    monkeypatch.setattr(hypergraph, "MOST_LINKS", links_at_most - 1)
    monkeypatch.setattr("mmrec.augment.hyperedge_view.hypergraph_expansion", None)  # nothing is made
    found = f"hyperedges of up to {int(sizes.max())} of 45 items, {links_at_most:,} links"
    with pytest.raises(GraphError, match=f"HyperedgeView finds {found}, expected at most .*MMHCL") as error:
        HyperedgeView(0.9)(view, rng())
    assert "\n" not in str(error.value)


def test_hyperedges_are_those_of_the_links_that_are_there() -> None:
    """Other links, set by whichever way, are their own hyperedges; so are those of positive weight alone."""
    view = add_item_graph(tiny_view(), k=3)
    members = item_hyperedges(view, "a test")
    assert members[1].max() >= 6  # the second modality's
    assert torch.equal(item_hyperedges(view.with_edges(torch.arange(3)), "a test"), members)
    assert torch.equal(item_hyperedges(replace(view, features={}), "a test"), members)
    other, weight = torch.tensor([[0, 1, 2], [1, 0, 2]]), torch.tensor([1.0, 0.0, 2.0])
    fields = {"item_edge_index": other, "item_edge_weight": weight}
    for changed in (view.changed(**fields), replace(view, **fields)):  # type: ignore[arg-type]
        assert item_hyperedges(changed, "a test").tolist() == [[0, 2], [1, 2]]


@pytest.mark.parametrize("augmentation", [ItemGraphMix(), KNNRewire(), HyperedgeView()])
def test_without_an_item_graph_it_says_so(augmentation: Augmentation) -> None:
    with pytest.raises(
        GraphError, match="works on the item graph and the view has none; choose a model with one"
    ):
        augmentation(tiny_view(item_graph=False), rng())
