"""NGCF, XSimGCL, DCCF, DirectAU and MMHCL: losses and gradients by hand, and their invariants."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from mmrec.augment.embedding_noise import EmbeddingNoise
from mmrec.augment.message_drop import MessageDrop
from mmrec.augment.random_walk import RandomWalk
from mmrec.augment.svd_view import SVDView, low_rank_clicks
from mmrec.errors import ConfigError
from mmrec.graph.hypergraph import sharing
from mmrec.graph.item_graph import add_item_graph
from mmrec.graph.view import GraphView
from mmrec.models.base import Recommender
from mmrec.models.dccf import DCCF
from mmrec.models.directau import DirectAU
from mmrec.models.lattice import LATTICE
from mmrec.models.lightgcn import LightGCN
from mmrec.models.mmhcl import MMHCL
from mmrec.models.ngcf import NGCF
from mmrec.models.xsimgcl import XSimGCL
from mmrec.plugins import known
from tests.cases import by_hand
from tests.cases.by_hand import (
    DISTINCT,
    ITEMS,
    NEGATIVES,
    USERS,
    Array,
    alignment,
    assert_by_hand,
    info_nce,
    leaky,
    linear,
    nearest_by_hand,
    result_of,
    softmax,
    squares,
    unit,
    view64,
)
from tests.cases.planted import dense_adjacency, planted_blocks, rng, tiny_view


def every_row(model: Recommender, view: GraphView) -> Array:
    out = model.embed(view)
    rows: Array = torch.cat([out.users, out.items]).detach().numpy()
    return rows


def walk_by_hand(view: GraphView) -> Array:
    clicks = (dense_adjacency(view) > 0).astype(float)
    return (clicks + np.eye(11)) / (clicks.sum(axis=1, keepdims=True) + 1)


def low_by_hand(view: GraphView, rank: int) -> Array:
    users, items = (part.numpy() for part in low_rank_clicks(view, rank))
    low = np.zeros((11, 11))
    low[:5, 5:], low[5:, :5] = users @ items.T, items @ users.T
    return low


def ngcf_by_hand(values: dict[str, Array], form: str, layers: list[Array], low: Array | None = None) -> Array:
    """All layers side by side; a graph for each, and what stands for them in what is read out."""
    layer, parts = values["table"], [values["table"]]
    for number, matrix in enumerate(layers):

        def of(near: Array, before: Array, number: int = number) -> Array:
            product = linear(values, f"products.{number}", near * before)
            if form == "paper":
                return leaky(linear(values, f"sums.{number}", near + before) + product, 0.2)
            return leaky(linear(values, f"sums.{number}", near), 0.2) + leaky(product, 0.2)

        before, layer = layer, of(matrix @ layer, layer)
        parts.append(unit(layer if low is None else of(low @ before, before)))
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("form", ["paper", "released"])
def test_ngcf_by_hand(form: Literal["paper", "released"]) -> None:
    matrix = dense_adjacency(view64()) if form == "paper" else walk_by_hand(view64())

    def losses(values: dict[str, Array]) -> dict[str, float]:
        out = ngcf_by_hand(values, form, [matrix, matrix])
        u, i, j = out[USERS], out[5 + np.array(ITEMS)], out[5 + np.array(NEGATIVES)]
        return {"bpr": by_hand.bpr(u, i, j), "l2": 0.3 * squares(u, i, j)}

    assert_by_hand(NGCF(view64(), dim=3, n_layers=2, reg=0.3, form=form).double(), losses)


@pytest.mark.parametrize("form", ["paper", "released"])
def test_ngcf_follows_random_walks_and_low_rank(form: Literal["paper", "released"]) -> None:
    view, dense = view64(), dense_adjacency if form == "paper" else walk_by_hand
    model = NGCF(view, dim=3, n_layers=3, form=form).double()
    by_hand.set_by_formula(model)
    values = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    walk = RandomWalk(0.4, n_layers=2)(view, rng())
    first, second = (dense(layer) for layer in walk.layers)
    assert not np.allclose(first, second)
    expected = ngcf_by_hand(values, form, [first, second, first])
    assert np.allclose(every_row(model, walk), expected)
    low = low_by_hand(view, 2)
    expected = ngcf_by_hand(values, form, [dense(view)] * 3, low)
    assert np.allclose(every_row(model, SVDView(2)(view, rng())), expected)


def test_xsimgcl_by_hand() -> None:
    adjacency = dense_adjacency(view64())

    def losses(values: dict[str, Array]) -> dict[str, float]:
        table = values["table"]
        first = adjacency @ table
        final = (first + adjacency @ first) / 2
        u, i, j = final[USERS], final[5 + np.array(ITEMS)], final[5 + np.array(NEGATIVES)]
        rows = [DISTINCT[0], 5 + np.array(DISTINCT[1])]
        contrast = sum(info_nce(final[some], first[some], 0.3) for some in rows)
        ego = squares(table[USERS], table[5 + np.array(ITEMS)], table[5 + np.array(NEGATIVES)])
        return {"bpr": by_hand.bpr(u, i, j), "l2": 0.1 * ego, "contrast": 0.7 * contrast}

    model = XSimGCL(view64(), dim=3, n_layers=2, layer=1, weight=0.7, temperature=0.3, reg=0.1).double()
    assert_by_hand(model, losses)


def test_xsimgcl_is_noisy_in_training_alone() -> None:
    view = tiny_view()
    model = XSimGCL(view, dim=4)
    clean, again = model.embed(view), model.embed(view)
    noisy = model.embed_in_training(view, rng(1))
    assert torch.equal(clean.users, again.users)
    assert not torch.equal(clean.users, noisy.users)
    plain = LightGCN(view, dim=4, n_layers=2, skip_first=True)
    plain.load_state_dict(model.state_dict())
    assert torch.allclose(clean.items, plain.embed(view).items, atol=1e-6)
    with pytest.raises(ConfigError, match=r"XSimGCL.layer is 3, expected 1 to n_layers, which is 2"):
        XSimGCL(view, layer=3)


def dccf_by_hand(
    values: dict[str, Array], layers: list[Array], low: Array | None = None
) -> tuple[Array, list[list[Array]]]:
    """Sum of the layers and their views; a graph for each, and what stands for them in what is read out."""
    layer = total = values["table"]
    views = []
    for adjacency in layers:

        def seen(clicks: Array, layer: Array, adjacency: Array = adjacency) -> list[Array]:
            users = softmax(layer[:5] @ values["user_intents"]) @ values["user_intents"].T
            items = softmax(layer[5:] @ values["item_intents"]) @ values["item_intents"].T
            intents, masked = np.concatenate([users, items]), []
            for one in (clicks, intents):
                share = (unit(one) @ unit(one).T + 1) / 2 * (adjacency > 0)
                assert share.min() >= 0
                assert share.max() <= 1 + 1e-12
                sums = share.sum(axis=1, keepdims=True)
                rows = np.divide(share, sums, out=np.zeros_like(share), where=sums > 0)
                masked.append(rows @ layer)
            return [clicks, intents, *masked]

        read = seen(adjacency @ layer if low is None else low @ layer, layer)
        views.append(read)
        total = total + sum(read) + layer
        layer = sum(seen(adjacency @ layer, layer)) + layer
    return total, views


def test_dccf_follows_random_walks_and_low_rank() -> None:
    view = view64()
    model = DCCF(view, dim=3, n_layers=3, n_intents=2).double()
    by_hand.set_by_formula(model)
    values = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    walk = RandomWalk(0.4, n_layers=2)(view, rng())
    first, second = (dense_adjacency(layer) for layer in walk.layers)
    expected, _ = dccf_by_hand(values, [first, second, first])
    assert np.allclose(every_row(model, walk), expected)
    out = model.embed(SVDView(2)(view, rng()))
    expected, views = dccf_by_hand(values, [dense_adjacency(view)] * 3, low_by_hand(view, 2))
    assert np.allclose(torch.cat([out.users, out.items]).detach(), expected)
    for found, layer in zip(out.views, views, strict=True):  # type: ignore[attr-defined]
        for one, other in zip(found, layer, strict=True):
            assert np.allclose(one.detach(), other)


def test_dccf_by_hand() -> None:
    def losses(values: dict[str, Array]) -> dict[str, float]:
        out, views = dccf_by_hand(values, [dense_adjacency(view64())] * 2)
        u, i, j = USERS, 5 + np.array(ITEMS), 5 + np.array(NEGATIVES)
        nodes = [DISTINCT[0], 5 + np.array(DISTINCT[1])]
        contrast = sum(
            info_nce(layer[0][some], other[some], 0.8)
            for layer in views
            for other in layer[1:]
            for some in nodes
        )
        ego = sum((values["table"][rows] ** 2).sum() for rows in (u, i, j))
        intents = (values["user_intents"] ** 2).sum() + (values["item_intents"] ** 2).sum()
        return {
            "bpr": by_hand.bpr(out[u], out[i], out[j]),
            "contrast": 0.2 * contrast,
            "l2": 0.3 * ego + 0.4 * intents,
        }

    options = {"weight": 0.2, "temperature": 0.8, "reg": 0.3, "intent_reg": 0.4}
    model = DCCF(view64(), dim=3, n_layers=2, n_intents=2, **options).double()  # type: ignore[arg-type]
    assert_by_hand(model, losses)


def test_dccfs_masks_share_out_each_nodes_messages() -> None:
    """With every row alike, what a mask lets through is that row: its shares sum to one."""
    view = tiny_view()
    model = DCCF(view, dim=4, n_layers=1)
    same = torch.ones(11, 4)
    out = model._masked(view, torch.randn(11, 4, generator=rng()), same)
    assert torch.allclose(out[[0, 1, 2, 3, 5, 6, 7, 8, 9]], torch.ones(9, 4), atol=1e-6)
    assert not out[[4, 10]].any()  # nobody's clicks


def test_directau_by_hand() -> None:
    def losses(values: dict[str, Array]) -> dict[str, float]:
        users, items = by_hand.mean_of_layers(view64(), values["table"], 1)
        u, i = users[USERS], items[ITEMS]
        uniform = (by_hand.uniformity(u) + by_hand.uniformity(i)) / 2
        return {"align_uniform": alignment(u, i) + 0.6 * uniform}

    assert_by_hand(DirectAU(view64(), dim=3, n_layers=1, gamma=0.6).double(), losses)


def test_mmhcl_by_hand() -> None:
    view = add_item_graph(view64(), k=4)
    clicks = by_hand.clicks_by_hand(view)
    together = clicks @ clicks.T
    np.fill_diagonal(together, 0)
    sums = together.sum(axis=1, keepdims=True)
    users_graph = np.divide(together, sums, out=np.zeros_like(together), where=sums > 0)
    parts = []
    for name, rows in by_hand.features_by_hand(view).items():
        members = np.zeros((6, 6))
        for item, other, cosine in nearest_by_hand(rows, 4, view.present[name].numpy()):
            members[item, other] = cosine > 0
        parts.append(members)
    incidence = np.concatenate(parts, axis=1)  # H_image and H_text side by side
    assert 0 < incidence.sum() < 4 * 11  # item 3 has no text, and some of the nearest are not alike at all
    shared = incidence @ incidence.T
    scale = shared.sum(axis=1) ** -0.5
    items_graph = scale[:, None] * shared * scale

    def losses(values: dict[str, Array]) -> dict[str, float]:
        users, items = by_hand.mean_of_layers(view, values["table"], 2)
        user_side = users_graph @ values["sides"][:5]
        item_side = items_graph @ (items_graph @ values["sides"][5:])
        users, items = users + unit(user_side), items + unit(item_side)
        u, i, j = users[USERS], items[ITEMS], items[NEGATIVES]
        some_u, some_i = DISTINCT
        return {
            "bpr": by_hand.bpr(u, i, j),
            "users": 0.5 * info_nce(users[some_u], user_side[some_u], 0.4, among_anchors=True),
            "items": 0.7 * info_nce(items[some_i], item_side[some_i], 0.4, among_anchors=True),
            "l2": 0.1 * squares(u, i, j),
        }

    model = MMHCL(
        view, dim=3, n_user_layers=1, user_weight=0.5, item_weight=0.7, temperature=0.4, reg=0.1
    ).double()
    assert_by_hand(model, losses, view)


def test_mmhcl_over_everybody() -> None:
    view = view64()
    model = MMHCL(view, dim=3, over="all", user_weight=1.0, temperature=0.4).double()
    by_hand.set_by_formula(model)
    out = model.embed(view)
    users, side = out.users.detach().numpy(), out.sides[0].detach().numpy()  # type: ignore[attr-defined]
    found = result_of(model, view).losses["users"]
    assert np.isclose(found, info_nce(users, side, 0.4, among_anchors=True))


def test_frozen_graphs_do_not_follow_augmented_clicks() -> None:
    """A view made from the clean one has its hypergraphs, whoever asks first."""
    view = tiny_view()
    fewer = view.with_edges(torch.arange(3))
    found = sharing(fewer, "users", "mean", torch.float32)
    assert sharing(view, "users", "mean", torch.float32) is found
    assert found.members.csr.values().numel() == view.edge_index.shape[1]


# Nothing goes through layers over the user-item graph in these.
NO_LAYERS = {"AMR", "BPRMF", "ContentKNN", "DGVAE", "EASE", "GFCF", "ItemKNN", "Popularity", "VBPR"}


@pytest.mark.parametrize("name", sorted(known(Recommender)))  # type: ignore[type-abstract]
def test_every_model_with_layers_follows_what_a_view_asks_for_inside(name: str) -> None:
    view = planted_blocks().data.train
    torch.manual_seed(0)
    model = known(Recommender)[name](view)  # type: ignore[type-abstract]
    clean = model.embed(view)
    for augmentation in (EmbeddingNoise(0.5), MessageDrop(0.5), RandomWalk(0.4), SVDView(2)):
        seen = model.embed(augmentation(view, rng()))
        for one, other in ((clean.users, seen.users), (clean.items, seen.items)):
            same = torch.allclose(one, other, atol=1e-4)
            assert same is (name in NO_LAYERS), type(augmentation).__name__


@pytest.mark.parametrize("name", sorted(set(known(Recommender)) - NO_LAYERS))  # type: ignore[type-abstract]
def test_what_changes_inside_does_so_beside_a_low_rank(name: str) -> None:
    view = planted_blocks().data.train
    torch.manual_seed(0)
    kind = known(Recommender)[name]  # type: ignore[type-abstract]
    forms = [{"form": "paper"}, {"form": "released"}] if name == "NGCF" else [{}]
    for model in (kind(view, **form) for form in forms):
        low = SVDView(2)(view, rng())
        alone = model.embed(low)
        for augmentation in (EmbeddingNoise(0.5), MessageDrop(0.5)):
            both = model.embed(augmentation(low, rng()))
            for one, other in ((alone.users, both.users), (alone.items, both.items)):
                assert not torch.allclose(one, other, atol=1e-4), type(augmentation).__name__


def test_noise_reaches_a_random_walk() -> None:
    view = tiny_view()
    model = LATTICE(view, dim=4, clicks="random_walk")
    noisy = model.embed(EmbeddingNoise(0.5)(view, rng()))
    assert not torch.allclose(model.embed(view).users, noisy.users, atol=1e-3)


def test_mmhcls_users_share_out_their_partners() -> None:
    """Rows of the user graph sum to one, and to nothing for a user without a click."""
    view = tiny_view()
    sums = sharing(view, "users", "mean", torch.float32).spread(torch.ones(5, 1), 1).squeeze(1)
    assert torch.allclose(sums, torch.tensor([1.0, 1, 1, 1, 0]))
