from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmrec.errors import ConfigError
from mmrec.models.rearm import REARM
from tests.cases import by_hand
from tests.cases.by_hand import (
    FEATURES,
    ITEMS,
    NEGATIVES,
    PRESENT,
    USERS,
    VIEW,
    Array,
    assert_by_hand,
    info_nce,
    linear,
    nearest_by_hand,
    result_of,
    softmax,
    unit,
)
from tests.cases.planted import dense_adjacency, rng, tiny_view

CLICKS = by_hand.clicks_by_hand(VIEW)
OPTIONS = {
    "user_k": 3,
    "item_k": 3,
    "user_share": 0.4,
    "item_share": 0.3,
    "user_first": 0.2,
    "item_first": 0.6,
}


def history(name: str) -> Array:
    known = CLICKS * PRESENT[name]
    return known @ FEATURES[name] / np.maximum(known.sum(axis=1, keepdims=True), 1)


def relations(counts: Array, rows: list[Array], present: list[Array], share: float, first: float) -> Array:
    counts = counts.copy()
    np.fill_diagonal(counts, 0)
    graph = np.zeros_like(counts)
    for node in range(len(counts)):
        best = [
            j for j in sorted(range(len(counts)), key=lambda j: (-counts[node, j], j))[:3] if counts[node, j]
        ]
        if best:
            graph[node, best] += share * softmax(counts[node, best])
    for part, one, known in zip((first, 1 - first), rows, present, strict=True):
        for i, j, cosine in nearest_by_hand(one, 3, known):
            graph[i, j] += (1 - share) * part * cosine / 3
    return graph


HISTORIES = [history(name) for name in FEATURES]
ITEM_GRAPH = relations(CLICKS.T @ CLICKS, list(FEATURES.values()), list(PRESENT.values()), 0.3, 0.6)
USER_GRAPH = relations(
    CLICKS @ CLICKS.T, HISTORIES, [(CLICKS * PRESENT[name]).any(axis=1) for name in FEATURES], 0.4, 0.2
)


def attend(values: dict[str, Array], name: str, query: Array, other: Array) -> Array:
    weight, bias = values[f"{name}.weight"], values[f"{name}.bias"]
    out = np.zeros_like(query)
    for node in range(len(query)):
        q, k, v = (weight[n] * x[node] + bias[n] for n, x in enumerate((query, other, other)))
        out[node] = softmax(np.outer(q, k)) @ v
    return weight[3] * out + bias[3]


def forward(values: dict[str, Array]) -> tuple[Array, Array, Array]:
    def bend(x: Array) -> Array:
        return np.where(x > 0, x, values["bend.weight"] * x)

    def norm(x: Array) -> Array:
        centred = x - x.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
        return scaled * values["norm.weight"] + values["norm.bias"]

    table = values["table"]
    item_rows = [linear(values, f"item_maps.{n}", x) for n, x in enumerate(FEATURES.values())]
    user_rows = [linear(values, f"user_maps.{n}", x) for n, x in enumerate(HISTORIES)]
    items = np.split(unit(ITEM_GRAPH @ np.concatenate([table[5:], *item_rows], axis=1)), 3, axis=1)
    users = np.split(unit(USER_GRAPH @ np.concatenate([table[:5], *user_rows], axis=1)), 3, axis=1)
    v = bend(norm(items[1] + attend(values, "own_attention.0", items[1], items[1])))
    t = bend(norm(items[2] + attend(values, "own_attention.1", items[2], items[2])))
    v2 = bend(norm(v + attend(values, "cross_attention.0", t, v)))
    t2 = bend(norm(t + attend(values, "cross_attention.1", v, t)))

    def spread(x: Array) -> Array:
        layers = [x]
        for _ in range(2):
            layers.append(dense_adjacency(VIEW) @ layers[-1])
        return np.mean(layers, axis=0)

    first, second = spread(np.concatenate([bend(users[1]), v2])), spread(np.concatenate([bend(users[2]), t2]))
    ids, shared = spread(np.concatenate([users[0], items[0]])), []
    both = np.concatenate([first, second], axis=1)
    for number, rows in enumerate((slice(0, 5), slice(5, 11))):
        z, maps = linear(values, f"meta.{number}.linear", both[rows]), []
        for writer, shape in enumerate(((2, 1), (1, 2))):
            name = f"meta.{number}.writers.{writer}"
            hidden = linear(values, f"{name}.0", z)
            hidden = np.where(hidden > 0, hidden, values[f"{name}.1.weight"] * hidden)
            written = unit(linear(values, f"{name}.2", hidden)).reshape(-1, *shape)
            maps.append(softmax(written + written.mean(axis=0), axis=1))
        shared.append(np.stack([one @ a @ b for one, a, b in zip(ids[rows], *maps, strict=True)]))
    out = np.concatenate([bend(one) + ids for one in (first, second, np.concatenate(shared))], axis=1)
    return out, first, second


def losses(values: dict[str, Array]) -> dict[str, float]:
    out, first, second = forward(values)
    u, i, j = np.array(USERS), 5 + np.array(ITEMS), 5 + np.array(NEGATIVES)
    some = [sorted(set(USERS)), sorted({*i, *j})]
    apart = 0.0
    for nodes in (u, i):
        centred = [one[nodes] - one[nodes].mean(axis=0) for one in (first, second)]
        # Lengths are those at the start: no gradient reaches them.
        x, y = (one / (LENGTHS[n, bool(nodes[0] >= 5)] + 1e-6) for n, one in enumerate(centred))
        apart += ((x.T @ y) ** 2).mean()
    return {
        "bpr": by_hand.bpr(out[u], out[i], out[j]),
        "contrast": 0.5 * sum(info_nce(first[nodes], second[nodes], 0.6) for nodes in some),
        "decorrelation": 0.7 * apart,
    }


LENGTHS: dict[tuple[int, bool], Array] = {}


def test_losses_and_gradients_by_hand() -> None:
    model = REARM(
        VIEW,
        dim=2,
        n_layers=2,
        rank=1,
        contrast_weight=0.5,
        decorrelation_weight=0.7,
        **OPTIONS,  # type: ignore[arg-type]
    ).double()
    by_hand.set_by_formula(model)
    _, *modalities = forward(by_hand.parameters_of(model))
    for n, one in enumerate(modalities):
        for nodes in (np.array(USERS), 5 + np.array(ITEMS)):
            centred = one[nodes] - one[nodes].mean(axis=0)
            LENGTHS[n, bool(nodes[0] >= 5)] = np.linalg.norm(centred, axis=1, keepdims=True)
    assert_by_hand(model, losses)


def test_the_released_meta_network_is_not_trained() -> None:
    for untrained in (False, True):
        model = REARM(VIEW, dim=2, n_layers=2, untrained_meta=untrained, **OPTIONS).double()  # type: ignore[arg-type]
        by_hand.set_by_formula(model)
        gradients = result_of(model, VIEW).gradients
        assert bool(gradients["meta.0.linear.weight"].any()) is not untrained
        assert gradients["meta.0.writers.0.0.weight"].any()


def test_dropout_is_drawn_in_training_alone() -> None:
    view = tiny_view()
    model = REARM(view, dim=4)
    first, again, other = (model.embed_in_training(view, rng(seed)).items for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(model.embed(view).items, model.embed(view).items)


@pytest.mark.parametrize("part", ["own", "cross"])
def test_each_dropout_is_of_the_weights_of_its_attention_alone(part: str) -> None:
    """Where these attentions put out nothing, their dropout changes nothing; else it does."""
    view = tiny_view()
    drops = {"attention_drop": 0.0, "modality_drop": 0.0}
    drops["attention_drop" if part == "own" else "modality_drop"] = 0.5
    model = REARM(view, dim=4, **drops)  # type: ignore[arg-type]
    assert not torch.allclose(model.embed_in_training(view, rng()).items, model.embed(view).items, atol=1e-4)
    with torch.no_grad():
        for attention in getattr(model, f"{part}_attention"):
            attention.weight[3] = 0
    assert torch.equal(model.embed_in_training(view, rng()).items, model.embed(view).items)


def test_it_takes_two_modalities() -> None:
    view = tiny_view()
    one = {"image": view.features["image"]}
    with pytest.raises(ConfigError, match="REARM takes two modalities and the data have image; choose"):
        REARM(replace(view, features=one, present={"image": view.present["image"]}))
    with pytest.raises(ConfigError, match=r"REARM.modality_drop is 1"):
        REARM(view, modality_drop=1.0)
