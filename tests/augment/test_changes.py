"""What became of a view, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmrec.augment.base import Augmentation
from mmrec.augment.changes import changed_parts, changes
from mmrec.augment.edge_drop import EdgeDrop
from mmrec.augment.embedding_noise import EmbeddingNoise
from mmrec.augment.feature_mask import FeatureMask
from mmrec.augment.knn_rewire import KNNRewire
from mmrec.augment.modality_drop import ModalityDrop
from mmrec.augment.random_walk import RandomWalk
from mmrec.augment.svd_view import SVDView
from mmrec.graph.matrices import with_inside
from tests.cases.planted import dense_adjacency, rng, tiny_view

CHANGE = "propagated rows, relative change"


def test_nothing_changed() -> None:
    view = tiny_view()
    found = changes(view, view)
    assert found["clicks kept"] == "10 of 10 (100.0%)"
    assert found["item links kept"] == "12 of 12 (100.0%)"
    assert found["new clicks"] == found["new item links"] == "0"
    assert found["kept item links of another weight"] == "0 (0.0%)"
    assert found["text: changed / relative change"] == "0.0% / 0.000"
    assert found[CHANGE] == "0.000"
    assert "clicks kept, layer by layer" not in found


def test_clicks_that_are_kept_and_new_whatever_their_order() -> None:
    view = tiny_view()
    new = torch.cat([view.edge_index[:, [7, 3, 0, 3]], torch.tensor([[4], [5]])], dim=1)
    found = changes(view, replace(view, edge_index=new))
    assert found["clicks kept"] == "3 of 10 (30.0%)"
    assert found["new clicks"] == "1"


def test_item_links_that_are_kept_and_of_another_weight() -> None:
    view = tiny_view()
    assert view.item_edge_index is not None
    assert view.item_edge_weight is not None
    index = torch.cat([view.item_edge_index[:, 2:].flip(1), torch.tensor([[2], [5]])], dim=1)
    weight = torch.cat([view.item_edge_weight[2:].flip(0), torch.ones(1)])
    weight[:3] *= 2
    found = changes(view, view.changed(item_edge_index=index, item_edge_weight=weight))
    assert found["item links kept"] == "10 of 12 (83.3%)"
    assert found["new item links"] == "1"
    assert found["kept item links of another weight"] == "3 (30.0%)"
    assert found[CHANGE] == "0.000"  # nothing goes over the item graph there


def test_features_of_items_that_have_them() -> None:
    view = tiny_view()
    rows = view.features["text"].clone()
    rows[:, 1], rows[3] = 0, 7  # item 3 has no text: what is put there is no change of one
    found = changes(view, view.changed(features={**view.features, "text": rows}))
    some = view.features["text"][view.present["text"]].numpy()
    share = np.abs(some[:, 1]).astype(bool).sum() / some.size
    length = np.linalg.norm(some[:, 1]) / np.linalg.norm(some)
    assert found["text: changed / relative change"] == f"{share:.1%} / {length:.3f}"
    assert found["image: changed / relative change"] == "0.0% / 0.000"


def test_layers_and_low_rank() -> None:
    view = tiny_view()
    walk = RandomWalk(0.5, n_layers=3)(view, rng(2))
    found = changes(view, walk)
    shares = [f"{layer.edge_index.shape[1] / 10:.1%}" for layer in walk.layers]
    assert len(set(shares)) > 1
    assert found["clicks kept, layer by layer"] == " / ".join(shares)
    assert found["clicks kept"] == "10 of 10 (100.0%)"
    values = np.linalg.svd(dense_adjacency(view)[:5, 5:], compute_uv=False) ** 2
    for rank in (1, 2):
        found = changes(view, SVDView(rank)(view, rng()))
        kept = values[:rank].sum() / values.sum()
        assert found[f"squared singular values kept, rank {rank}"] == f"{kept:.1%}"


def test_the_change_of_propagated_rows() -> None:
    """Mean of x, A x and A A x against that of x, 3 A x and 9 A A x."""
    view = tiny_view()
    found = changes(view, with_inside(view, lambda layer, number: 3 * layer))[CHANGE]
    x = 0.1 * torch.randn(11, 64, generator=rng(0)).numpy()
    first = dense_adjacency(view) @ x
    second = dense_adjacency(view) @ first
    change = np.linalg.norm(2 * first + 8 * second) / np.linalg.norm(x + first + second)
    assert found == f"{change:.3f}"


@pytest.mark.parametrize(
    ("augmentation", "parts"),
    [
        (EdgeDrop(0), []),
        (EdgeDrop(0.5), ["edge_index"]),
        (KNNRewire(0.9), ["item_edge_index"]),
        (FeatureMask(0.9), ["features"]),
        (ModalityDrop(0.9), ["features", "present"]),
        (EmbeddingNoise(), ["inside"]),
        (RandomWalk(0.5), ["layers"]),
        (SVDView(1), ["low_rank"]),
    ],
)
def test_parts_that_differ(augmentation: Augmentation, parts: list[str]) -> None:
    view = tiny_view()
    assert changed_parts(view, augmentation(view, rng(1))) == parts
    again = replace(view, edge_index=view.edge_index.clone(), features={**view.features})
    assert changed_parts(view, again) == []
    assert changed_parts(view, replace(view, item_edge_index=None)) == ["item_edge_index"]
