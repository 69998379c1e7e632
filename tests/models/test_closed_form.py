"""ItemKNN, ContentKNN, EASE and GF-CF against their formulas, entry by entry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmrec.errors import ConfigError
from mmrec.graph.view import GraphView
from mmrec.models.base import Recommender
from mmrec.models.ease import EASE
from mmrec.models.gfcf import GFCF
from mmrec.models.itemknn import ContentKNN, ItemKNN
from tests.cases.by_hand import Array, clicks_by_hand
from tests.cases.planted import dense_item_graph, planted_blocks, tiny_view


def scores(model: Recommender, view: GraphView) -> Array:
    out = model.for_ranking(model.embed(view))
    return model.score(out, torch.arange(view.num_users)).double().numpy()


# With normalised users no small k: similarities are then equal up to rounding, and which is kept is chance.
@pytest.mark.parametrize(
    ("k", "shrink", "normalise_users"),
    [
        (1, 0.0, False),
        (2, 0.0, False),
        (100, 3.0, False),
        (None, 3.0, False),
        (None, 3.0, True),
        (5, 0.0, True),
    ],
)
def test_itemknn_by_hand(k: int | None, shrink: float, normalise_users: bool) -> None:
    view = tiny_view()
    histories = clicks_by_hand(view)
    clicks = histories
    if normalise_users:
        clicks = histories / np.maximum(np.linalg.norm(histories, axis=1, keepdims=True), 1)
    similar = np.zeros((6, 6))
    for i in range(6):
        for j in range(6):
            root = np.linalg.norm(clicks[:, i]) * np.linalg.norm(clicks[:, j])
            if i != j and root > 0:
                similar[i, j] = clicks[:, i] @ clicks[:, j] / (root + shrink)
        for j in sorted(range(6), key=lambda j: (-similar[i, j], j))[len(similar) if k is None else k :]:
            similar[i, j] = 0
    model = ItemKNN(view, k=k, shrink=shrink, normalise_users=normalise_users)
    assert np.allclose(scores(model, view), histories @ similar.T, atol=1e-6)


def test_content_is_the_item_graphs() -> None:
    view = tiny_view()
    expected = clicks_by_hand(view) @ dense_item_graph(view).T
    assert np.allclose(scores(ContentKNN(view), view), expected, atol=1e-6)


def test_a_click_twice_is_one_partner() -> None:
    view = tiny_view()
    twice = replace(view, edge_index=torch.cat([view.edge_index, view.edge_index[:, :3]], dim=1))
    for kind in (ItemKNN, EASE):
        assert np.allclose(scores(kind(view), view), scores(kind(twice), twice), atol=1e-5)
    assert np.allclose(scores(GFCF(view, rank=2), view), scores(GFCF(twice, rank=2), twice), atol=1e-5)


def test_ease_solves_its_own_problem() -> None:
    """Steck's conditions: a zero diagonal, and no other B of that kind has a smaller loss."""
    view = tiny_view()
    model, clicks = EASE(view, reg=0.7), clicks_by_hand(view)
    weight = model.rule(view)(torch.eye(6)).double().numpy()
    assert np.allclose(np.diag(weight), 0)
    assert np.allclose(scores(model, view), clicks @ weight, atol=1e-5)
    gradient = clicks.T @ (clicks @ weight - clicks) + 0.7 * weight
    assert np.allclose(gradient - np.diag(np.diag(gradient)), 0, atol=1e-5)


def test_ease_over_blocks_of_users_is_the_same() -> None:
    view = planted_blocks(blocks=2, users=3000, items=4).data.train
    clicks = clicks_by_hand(view)
    inverse = np.linalg.inv(clicks.T @ clicks + 9.0 * np.eye(view.num_items))
    weight = -inverse / np.diag(inverse)
    np.fill_diagonal(weight, 0)
    assert np.allclose(EASE(view, reg=9.0).rule(view)(torch.eye(view.num_items)), weight, atol=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_gfcf_by_hand(alpha: float) -> None:
    view = tiny_view()
    clicks = clicks_by_hand(view)
    users, items = clicks.sum(axis=1), clicks.sum(axis=0)
    scale_u = np.where(users > 0, np.maximum(users, 1) ** -0.5, 0)
    scale_i = np.where(items > 0, np.maximum(items, 1) ** -0.5, 0)
    normal = scale_u[:, None] * clicks * scale_i
    _, _, right = np.linalg.svd(normal)
    strongest = right[:2].T
    ideal = (clicks * scale_i) @ strongest @ strongest.T * np.sqrt(items)
    expected = clicks @ normal.T @ normal + alpha * ideal
    assert np.allclose(scores(GFCF(view, rank=2, alpha=alpha), view), expected, atol=1e-5)


def test_options_out_of_range_are_one_line() -> None:
    view = tiny_view()
    with pytest.raises(ConfigError, match="ItemKNN has k 0"):
        ItemKNN(view, k=0)
    with pytest.raises(ConfigError, match=r"EASE.reg is 0"):
        EASE(view, reg=0)
    with pytest.raises(ConfigError, match=r"6 items and EASE.max_items is 5; it needs"):
        EASE(view, max_items=5)
    with pytest.raises(ConfigError, match=r"GFCF.rank is 0"):
        GFCF(view, rank=0)
