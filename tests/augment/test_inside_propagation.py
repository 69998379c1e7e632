"""EmbeddingNoise, ModulusNoise, MessageDrop, RandomWalk and SVDView, with exact answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmrec.augment.edge_drop import EdgeDrop
from mmrec.augment.embedding_noise import EmbeddingNoise
from mmrec.augment.message_drop import MessageDrop
from mmrec.augment.modulus_noise import ModulusNoise
from mmrec.augment.random_walk import RandomWalk
from mmrec.augment.svd_view import SVDView, low_rank_clicks
from mmrec.errors import GraphError
from mmrec.graph.matrices import normalised_weights, user_item_matrix
from mmrec.graph.ops import layer_outputs
from mmrec.graph.view import GraphView
from mmrec.models.lightgcn import LightGCN
from tests.cases.planted import dense_adjacency, planted_blocks, rng, tiny_view


def layer(seed: int = 0) -> torch.Tensor:
    x = torch.randn(11, 16, generator=rng(seed))
    x[3] = 0
    return x


def test_noise_has_its_length_and_stays_in_the_orthant() -> None:
    x = layer()
    (noise,) = EmbeddingNoise(0.3)(tiny_view(), rng(1)).inside
    moved = noise(x, 1) - x
    some = x.any(dim=1)
    assert torch.allclose(moved[some].norm(dim=1), torch.full((10,), 0.3), atol=1e-5)
    assert not moved[3].any()  # no direction, no noise: sign(0) is 0
    assert (moved * x >= 0).all()


def test_noise_is_another_in_each_layer_and_the_same_again() -> None:
    x = layer()
    (noise,) = EmbeddingNoise(0.3)(tiny_view(), rng(1)).inside
    assert torch.equal(noise(x, 1), noise(x, 1))
    assert not torch.equal(noise(x, 1), noise(x, 2))


def test_modulus_noise_is_a_share_of_the_length() -> None:
    x = layer()
    (noise,) = ModulusNoise(0.2)(tiny_view(), rng(1)).inside
    moved = (noise(x, 1) - x).norm(dim=1)
    assert torch.allclose(moved, 0.2 * x.norm(dim=1), atol=1e-5)


def test_noise_is_uniform_before_it_is_normalised() -> None:
    """With all signs plus, the first column's mean is that of u_1 / |u|, u uniform in the unit cube."""
    x = torch.ones(40_000, 2)
    (noise,) = EmbeddingNoise(1.0)(tiny_view(), rng(1)).inside
    moved = noise(x, 1) - x
    u = np.random.default_rng(0).random((40_000, 2))
    expected = (u / np.linalg.norm(u, axis=1, keepdims=True)).mean(axis=0)
    assert np.allclose(moved.mean(dim=0), expected, atol=0.01)


def test_message_drop_keeps_the_mean() -> None:
    (drop,) = MessageDrop(0.25)(tiny_view(), rng(1)).inside
    x = torch.ones(2000, 50)
    found = drop(x, 1)
    assert found.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert float(found.mean()) == pytest.approx(1, abs=0.02)
    assert not torch.equal(found, drop(x, 2))


def test_each_layer_of_a_random_walk_is_an_edge_drop_of_its_own() -> None:
    view = planted_blocks().data.train
    found = RandomWalk(0.3, n_layers=3)(view, rng(4))
    source = rng(4)
    for one in found.layers:
        assert torch.equal(one.edge_index, EdgeDrop(0.3)(view, source).edge_index)
    assert len(found.layers) == 3
    assert torch.equal(found.edge_index, view.edge_index)
    with pytest.raises(GraphError, match=r"RandomWalk.n_layers is 0"):
        RandomWalk(n_layers=0)


def test_what_is_dropped_after_a_random_walk_is_in_none_of_its_graphs() -> None:
    """The graphs are what propagation goes over: an EdgeDrop that left them alone would do nothing."""
    view = planted_blocks().data.train
    walk = RandomWalk(0.3, n_layers=3)(view, rng(4))
    found = EdgeDrop(0.5)(walk, rng(5))
    kept = set(map(tuple, EdgeDrop(0.5)(view, rng(5)).edge_index.T.tolist()))
    assert len(found.layers) == 3
    for before, after in zip(walk.layers, found.layers, strict=True):
        expected = [pair for pair in map(tuple, before.edge_index.T.tolist()) if pair in kept]
        assert list(map(tuple, after.edge_index.T.tolist())) == expected
        assert 0 < len(expected) < before.edge_index.shape[1]
    again = RandomWalk(0.3, n_layers=1)(found, rng(4))
    assert torch.equal(again.layers[0].edge_index, EdgeDrop(0.3)(found, rng(4)).edge_index)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_the_svd_is_the_best_approximation_of_its_rank(rank: int) -> None:
    view = tiny_view()
    users, items = low_rank_clicks(view, rank)
    normal = dense_adjacency(view)[:5, 5:]
    left, size, right = np.linalg.svd(normal)
    best = (left[:, :rank] * size[:rank]) @ right[:rank]
    assert np.allclose(users @ items.T, best, atol=1e-5)


def test_the_svd_of_a_large_graph_is_nearly_as_good() -> None:
    view = planted_blocks(blocks=12, users=15, items=12).data.train  # above the size of the exact one
    assert min(view.num_users, view.num_items) > 100
    normal = np.zeros((view.num_users, view.num_items))
    normal[tuple(view.edge_index.numpy())] = normalised_weights(view)
    size = np.linalg.svd(normal, compute_uv=False)
    users, items = low_rank_clicks(view, 12)
    left_over = np.linalg.norm(normal - (users @ items.T).numpy())
    assert left_over == pytest.approx(np.linalg.norm(size[12:]), rel=1e-3)
    assert all(
        torch.equal(a, b) for a, b in zip(low_rank_clicks(view, 12), low_rank_clicks(view, 12), strict=True)
    )


def test_the_svd_finds_the_strongest_of_many_that_are_nearly_as_strong() -> None:
    """Of 600 random clicks: as in real ones, singular values fall slowly; few iterations take others."""
    clicks = torch.randperm(300 * 250, generator=rng(3))[:600]
    view = GraphView(300, 250, torch.stack([clicks // 250, clicks % 250]))
    normal = np.zeros((300, 250))
    normal[tuple(view.edge_index.numpy())] = normalised_weights(view)
    _, size, right = np.linalg.svd(normal)
    _, found = low_rank_clicks(view, 60)
    below = size[60] / size[59]
    assert 0.95 < below < 1
    captured = np.linalg.norm(right[:50] @ found.double().numpy()) ** 2
    assert captured == pytest.approx(50, rel=1e-3)


def test_lightgcls_layers_by_hand() -> None:
    """G_l = U S V' Z_(l-1), Z the clean layers."""
    view = tiny_view()
    seen = SVDView(2)(view, rng())
    model = LightGCN(view, dim=4, n_layers=2)
    users, items = (part.numpy() for part in low_rank_clicks(view, 2))
    stands_for = np.zeros((11, 11))
    stands_for[:5, 5:], stands_for[5:, :5] = users @ items.T, items @ users.T
    start = model.table.detach().numpy()
    expected = (start + stands_for @ start + stands_for @ dense_adjacency(view) @ start) / 3
    assert np.allclose(model.embed(seen).users.detach(), expected[:5], atol=1e-5)


def test_the_decomposition_is_made_once_per_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    view, augmentation = tiny_view(), SVDView(2)
    first = augmentation(view, rng()).low_rank
    monkeypatch.setattr("mmrec.augment.svd_view.low_rank_clicks", None)
    assert augmentation(view, rng()).low_rank is first
    with pytest.raises(TypeError):
        augmentation(view.with_edges(torch.arange(5)), rng())


def test_noise_does_not_sort_the_graph_anew() -> None:
    view = tiny_view()
    one, other = (EmbeddingNoise()(view, rng(seed)) for seed in (1, 2))
    assert user_item_matrix(one).csr is user_item_matrix(other).csr
    x = torch.ones(11, 4)
    assert not torch.equal(*(layer_outputs(user_item_matrix(some), x, 1)[1] for some in (one, other)))


def test_options_out_of_range_are_one_line() -> None:
    for kind in (EmbeddingNoise, ModulusNoise):
        with pytest.raises(GraphError, match=rf"{kind.__name__}.scale is -1, expected a finite number"):
            kind(-1)
    with pytest.raises(GraphError, match=r"SVDView.rank is 0"):
        SVDView(0)
