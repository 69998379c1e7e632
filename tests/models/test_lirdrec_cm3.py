"""LIRDRec and CM3: losses and gradients by hand, and their invariants."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from mmrec.augment.edge_drop import EdgeDrop
from mmrec.augment.feature_mask import FeatureMask
from mmrec.auxiliary.adversarial_feature import AdversarialFeature
from mmrec.auxiliary.base import Auxiliary
from mmrec.auxiliary.view_contrast import ViewContrast
from mmrec.losses.uniformity import uniformity
from mmrec.models.base import Batch
from mmrec.models.cm3 import CM3, slerp
from mmrec.models.lirdrec import LIRDRec, cosine_transform
from tests.cases import by_hand
from tests.cases.by_hand import (
    FEATURES,
    ITEMS,
    NEGATIVES,
    USERS,
    VIEW,
    Array,
    alignment,
    assert_by_hand,
    leaky,
    linear,
    softmax,
    unit,
)
from tests.cases.planted import dense_adjacency, dense_item_graph, rng, tiny_view


def blocks_by_hand(
    values: dict[str, Array], items: list[Array], weigh: Any, n_layers: int
) -> tuple[Array, Array]:
    tables = [values[f"tables.{number}"] for number in range(len(items))]
    x = np.concatenate([unit(np.concatenate(pair)) for pair in zip(tables, items, strict=True)], axis=1)
    total, layer = x, x
    for _ in range(n_layers):
        layer = dense_adjacency(VIEW) @ layer
        total = total + layer
    parts = np.split(total[:5], len(items), axis=1)
    weights = weigh(parts)
    users = np.concatenate([weights[:, [n]] * part for n, part in enumerate(parts)], axis=1)
    return users, total[5:] + dense_item_graph(VIEW) @ total[5:]


def mapped(values: dict[str, Array], number: int, x: Array) -> Array:
    hidden = leaky(linear(values, f"maps.{number}.0", x), 0.01)
    return linear(values, f"maps.{number}.2", hidden)


def transform_by_hand(x: Array) -> Array:
    """DCT-II, orthonormal, cosine by cosine."""
    n = x.shape[1]
    out = np.zeros_like(x)
    for k in range(n):
        scale = np.sqrt(1 / n) if k == 0 else np.sqrt(2 / n)
        for p in range(n):
            out[:, k] += scale * x[:, p] * np.cos(np.pi * (2 * p + 1) * k / (2 * n))
    return out


def test_lirdrec_by_hand() -> None:
    shared = np.concatenate([transform_by_hand(rows) for rows in FEATURES.values()], axis=1)

    def losses(values: dict[str, Array]) -> dict[str, float]:
        sources = [*FEATURES.values(), shared]
        items = [mapped(values, number, x) for number, x in enumerate(sources)]

        def weigh(parts: list[Array]) -> Array:
            scores = []
            for number, part in enumerate(parts):
                hidden = leaky(linear(values, f"scorers.{number}.0", part), 0.01)
                scores.append(linear(values, f"scorers.{number}.2", hidden))
            return softmax(0.8 * np.concatenate(scores, axis=1) + 0.2 * values["theta"])

        users, items_out = blocks_by_hand(values, items, weigh, 2)
        size = (users**2).mean() + (items_out**2).mean()
        rows = users[USERS], items_out[ITEMS], items_out[NEGATIVES]
        return {"bpr": by_hand.bpr(*rows), "l2": 0.3 * float(size)}

    model = LIRDRec(VIEW, dim=2, hidden=3, n_layers=2, reg=0.3, own_share=0.8).double()
    assert_by_hand(model, losses)


def test_the_cosine_transform_keeps_lengths_and_products() -> None:
    x = torch.randn(5, 9, generator=rng())
    found = cosine_transform(x)
    assert np.allclose(found, transform_by_hand(x.double().numpy()), atol=1e-5)
    assert torch.allclose(found @ found.T, x @ x.T, atol=1e-4)


@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_the_cosine_transform_of_any_width(width: int) -> None:
    x = torch.randn(3, width, generator=rng(), dtype=torch.float64, requires_grad=True)
    assert np.allclose(cosine_transform(x).detach(), transform_by_hand(x.detach().numpy()), atol=1e-12)
    assert torch.autograd.gradcheck(cosine_transform, (x,))


def test_lirdrecs_gradient_reaches_the_features_through_their_transform() -> None:
    """What an adversary looks at; with all other ways of the features closed."""
    model = LIRDRec(VIEW, dim=2, hidden=3).double()
    by_hand.set_by_formula(model)
    with torch.no_grad():
        for map_ in model.maps[:-1]:
            for weight in map_.parameters():
                weight.zero_()

    def loss(rows: torch.Tensor) -> torch.Tensor:
        view = VIEW.changed(features={**VIEW.features, "image": rows})
        twice = [model.losses(model.embed(view), by_hand.batch(), view) for _ in range(2)]
        return torch.stack([*twice[0].values()]).sum() + 0 * twice[1]["bpr"]  # each has a gradient of its own

    rows = VIEW.features["image"].clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (rows,))
    assert torch.autograd.grad(loss(rows), rows)[0].any()
    model.embed(VIEW)
    kept = VIEW.changed(inside=()).derive("features: cosine transform", lambda _: None)
    assert kept is not None, "it is made once for all such views"


def test_lirdrecs_weights_are_copied_progressively() -> None:
    """w1 / w2 after t epochs is w1 / w2 at the start times decay^(t (t + 1) / 2), and theta takes over."""
    model = LIRDRec(VIEW, dim=2, hidden=3, own_share=0.9, decay=0.8).double()
    for epoch in range(1, 5):
        model.start_epoch(epoch)
        own = float(model.get_buffer("own"))
        assert own / (1 - own) == pytest.approx(9 * 0.8 ** (epoch * (epoch + 1) / 2), rel=1e-5)
    model.losses(model.embed(VIEW), by_hand.batch(), VIEW)
    assert model._last is not None
    assert torch.allclose(model._last.sum(dim=1), torch.ones(5, dtype=torch.float64))
    model.start_epoch(5)
    assert torch.equal(model.theta, model._last)
    before = model.theta.clone()
    model.eval()
    model.embed(VIEW)
    model.start_epoch(6)
    assert torch.equal(model.theta, before)  # evaluation leaves no trace


@pytest.mark.parametrize(
    "helper",
    [
        ViewContrast(VIEW, augmentation=EdgeDrop(0.5)),
        ViewContrast(VIEW, augmentation=FeatureMask(0.5), against="clean"),
        AdversarialFeature(VIEW, epsilon=0.5),
    ],
)
def test_lirdrec_copies_the_weights_of_a_steps_own_pass(helper: Auxiliary) -> None:
    """Not of the views that auxiliary losses look at beside it."""

    def theta(*beside: Auxiliary, steps: int = 2) -> torch.Tensor:
        model = LIRDRec(VIEW, dim=2, hidden=3).double()
        by_hand.set_by_formula(model)
        for _ in range(steps):
            with torch.no_grad():
                model.theta += 0.1 * torch.eye(5, 3)
            drawn = by_hand.batch()
            out = model.embed_in_training(VIEW, drawn.rng)
            model.losses(out, drawn, VIEW)
            for one in beside:
                one.losses(model, VIEW, out, drawn, rng())
        model.start_epoch(1)
        return model.theta.detach()

    assert torch.equal(theta(helper), theta())
    assert not torch.equal(theta(), theta(steps=1))


def test_cm3_by_hand() -> None:
    def losses(values: dict[str, Array]) -> dict[str, float]:
        first, second = (
            unit(linear(values, f"to_sphere.{number}", x)) for number, x in enumerate(FEATURES.values())
        )
        cosine = np.clip((first * second).sum(axis=1, keepdims=True), -1 + 1e-6, 1 - 1e-6)
        angle = np.arccos(cosine)
        mix = (np.sin(angle / 2) * first + np.sin(angle / 2) * second) / np.sin(angle)
        items = [mapped(values, number, x) for number, x in enumerate(FEATURES.values())]
        users, items_out = blocks_by_hand(values, [*items, mix], lambda _: softmax(values["theta"]), 2)
        directions = unit(mix[NEGATIVES])
        similar = np.clip(directions @ directions.T, 0, 0.8)
        return {
            "align": alignment(users[USERS], items_out[ITEMS]),
            "uniform_users": 0.3 * by_hand.uniformity(users[USERS]),
            "uniform_items": 0.3 * by_hand.uniformity(items_out[NEGATIVES], similar),
        }

    assert_by_hand(CM3(VIEW, dim=2, hidden=3, n_layers=2, gamma=0.6, most_similar=0.8).double(), losses)


def test_cm3_looks_at_each_of_a_batchs_nodes_once() -> None:
    """Users and negatives that come several times count so often, and one row of each is compared."""
    view, users = tiny_view(), [0, 1, 1, 3, 2, 1]
    model = CM3(view, dim=4, most_similar=0.8)
    drawn = Batch(
        torch.tensor(users), torch.tensor([3, 1, 2, 2, 0, 1]), torch.tensor([2, 2, 4, 1, 2, 4]), rng()
    )
    out = model.embed(view)
    with patch("mmrec.models.cm3.uniformity", wraps=uniformity) as seen:
        found = model.losses(out, drawn, view)
    assert [len(call.args[0]) for call in seen.call_args_list] == [4, 3]
    apart = uniformity(out.users[drawn.users])
    assert torch.allclose(found["uniform_users"], model.gamma / 2 * apart, atol=1e-6)


def test_cm3_ranks_by_length_unless_told_not_to() -> None:
    view = tiny_view()
    for rank_by in ("dot", "cosine"):
        model = CM3(view, dim=4, rank_by=rank_by)  # type: ignore[arg-type]
        out = model.embed(view)
        ranked = model.for_ranking(out)
        lengths = out.items.norm(dim=1) if rank_by == "dot" else torch.ones(6)
        assert torch.allclose(ranked.items.norm(dim=1), lengths, atol=1e-6)
        cosines = torch.nn.functional.cosine_similarity(out.users[:, None], out.items[None], dim=2)
        scores = cosines * out.users.norm(dim=1, keepdim=True) * lengths
        assert torch.allclose(model.score(ranked, torch.arange(5)), scores, atol=1e-5)


def test_slerp_stays_on_the_sphere_and_ends_where_it_should() -> None:
    first, second = (
        torch.nn.functional.normalize(torch.randn(6, 4, generator=rng(n)), dim=1) for n in (1, 2)
    )
    for share in (0.0, 0.3, 1.0):
        mixed = slerp(first, second, torch.full((6, 1), share))
        assert torch.allclose(mixed.norm(dim=1), torch.ones(6), atol=1e-5)
    assert torch.allclose(slerp(first, second, torch.ones(6, 1)), first, atol=1e-6)
    assert torch.allclose(slerp(first, second, torch.zeros(6, 1)), second, atol=1e-6)
    assert slerp(first, first, torch.full((6, 1), 0.5)).isfinite().all()


def test_cm3_draws_shares_from_a_beta_distribution() -> None:
    model = CM3(tiny_view(), dim=4, alpha=0.5)
    drawn = model._shares(torch.zeros(20_000, 4), rng()).double()
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(drawn.var()) == pytest.approx(0.125, abs=0.005)  # 1 / (4 (2 alpha + 1))
    model.alpha = 1e4
    assert float((model._shares(torch.zeros(100, 4), rng()) - 0.5).abs().max()) < 0.05
    view = tiny_view()
    first, second = (model.embed_in_training(view, rng(seed)).items for seed in (1, 2))
    assert torch.equal(model.embed(view).items, model.embed(view).items)
    assert not torch.equal(first, second)
