"""VBPR, AMR, LATTICE, AlphaRec and SIGE: losses and gradients by hand, and their invariants."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch

from mmrec.augment.feature_mask import FeatureMask
from mmrec.errors import ConfigError
from mmrec.graph.view import GraphView
from mmrec.models.alpharec import AlphaRec
from mmrec.models.amr import AMR
from mmrec.models.base import Batch
from mmrec.models.lattice import LATTICE
from mmrec.models.sige import SIGE
from mmrec.models.vbpr import VBPR
from mmrec.train.streams import seeded
from tests.cases import by_hand
from tests.cases.by_hand import (
    DISTINCT,
    FEATURES,
    ITEMS,
    NEGATIVES,
    PRESENT,
    TOGETHER,
    USERS,
    VIEW,
    Array,
    assert_by_hand,
    info_nce,
    leaky,
    linear,
    nearest_by_hand,
    parameters_of,
    sigmoid,
    softmax,
    squares,
    symmetric_by_hand,
    unit,
)
from tests.cases.planted import rng, tiny_view


@pytest.mark.parametrize("kind", ["unsquared", "squared"])
def test_vbpr_by_hand(kind: Literal["unsquared", "squared"]) -> None:
    def losses(values: dict[str, Array]) -> dict[str, float]:
        items = np.concatenate([values["item_table"], linear(values, "map", TOGETHER)], axis=1)
        rows = [values["user_table"][USERS], items[ITEMS], items[NEGATIVES]]
        size = squares(*rows) if kind == "squared" else sum(np.linalg.norm(one) for one in rows) / len(USERS)
        return {"bpr": by_hand.bpr(*rows), "l2": 0.3 * float(size)}

    assert_by_hand(VBPR(VIEW, dim=3, reg=0.3, l2=kind).double(), losses)


def amr_by_hand(
    values: dict[str, Array],
    still: dict[str, Array],
    *,
    epsilon: float = 0.1,
    weight: float = 1.0,
    user_reg: float = 0.1,
    item_reg: float = 1e-3,
) -> dict[str, float]:
    """Sums over the batch, by its size, with the released strengths; `still` are the values that the
    adversary sees, which no derivative does.
    """
    scale = np.abs(TOGETHER).max()

    def rows(values: dict[str, Array], features: Array) -> list[Array]:
        items = values["item_table"] + features / scale @ values["map.weight"].T
        return [values["user_table"][USERS], items[ITEMS], items[NEGATIVES]]

    u, i, j = rows(still, TOGETHER)
    step = np.zeros_like(TOGETHER)
    for number in range(len(USERS)):
        slope = -sigmoid(-(u[number] @ (i[number] - j[number]))) * (u[number] @ still["map.weight"])
        step[ITEMS[number]] += slope
        step[NEGATIVES[number]] -= slope
    moved = TOGETHER + epsilon * scale * unit(step)
    there = rows(values, moved)
    u, i, j = rows(values, TOGETHER)
    penalty = user_reg * (u**2).sum() + item_reg * ((i**2).sum() + (j**2).sum())
    adversarial = weight * by_hand.bpr(*there)
    return {"bpr": by_hand.bpr(u, i, j), "adversarial": adversarial, "l2": penalty / len(USERS)}


@pytest.mark.parametrize(
    "options",
    [{}, {"epsilon": 0.4, "weight": 0.7, "user_reg": 0.2, "item_reg": 0.3}],
    ids=["released", "other"],
)
def test_amr_by_hand(options: dict[str, float]) -> None:
    model = AMR(VIEW, dim=3, **options).double()  # type: ignore[arg-type]
    by_hand.set_by_formula(model)
    still = parameters_of(model)
    assert_by_hand(model, lambda values: amr_by_hand(values, still, **options))


def test_amrs_adversary_does_what_it_says() -> None:
    """No step, no difference; a step makes the loss larger, the more the longer it is."""
    found = []
    for epsilon in (0.0, 0.01, 0.1):
        model = AMR(VIEW, dim=3, epsilon=epsilon, weight=1.0).double()
        by_hand.set_by_formula(model)
        losses = by_hand.result_of(model, VIEW).losses
        found.append(losses["adversarial"] - losses["bpr"])
    assert found[0] == pytest.approx(0, abs=1e-12)
    assert 0 < found[1] < found[2]


def lattice_by_hand(values: dict[str, Array], k: int, keep: float) -> tuple[Array, Array]:
    shares = softmax(values["shares"])
    frozen, learned = np.zeros((6, 6)), []
    for number, name in enumerate(FEATURES):
        raw = [(i, j, max(c, 0.0)) for i, j, c in nearest_by_hand(FEATURES[name], k, PRESENT[name])]
        frozen += shares[number] * symmetric_by_hand(raw, 6)
        rows = linear(values, f"projection.maps.{name}", FEATURES[name])
        near = nearest_by_hand(rows, k, PRESENT[name])
        learned += [(i, j, shares[number] * max(c, 0.0)) for i, j, c in near]
    graph = keep * frozen + (1 - keep) * symmetric_by_hand(learned, 6)
    users, items = by_hand.mean_of_layers(VIEW, values["table"], 2)
    return users, items + unit(graph @ values["table"][5:])


@pytest.mark.parametrize("keep", [0.4, 1.0])
def test_lattice_by_hand(keep: float) -> None:
    def losses(values: dict[str, Array]) -> dict[str, float]:
        users, items = lattice_by_hand(values, 3, keep)
        rows = users[USERS], items[ITEMS], items[NEGATIVES]
        return {"bpr": by_hand.bpr(*rows), "l2": 0.2 * squares(*rows)}

    assert_by_hand(LATTICE(VIEW, dim=3, k=3, keep=keep, reg=0.2).double(), losses)


def test_lattice_learns_its_graph_in_the_first_step_of_an_epoch() -> None:
    with seeded(0, "init"):  # where every neighbour's cosine is negative, nothing is learned
        model = LATTICE(VIEW, dim=3, k=3, keep=0.1).double()
    weight = model.projection.maps["image"].get_parameter("weight")
    seen = []
    for epoch in (1, 2):
        model.start_epoch(epoch)
        for _ in range(2):
            model.zero_grad()
            out = model.embed_in_training(VIEW, rng())
            seen.append(out.items.detach().clone())
            out.items.sum().backward()
            assert (weight.grad is not None and bool(weight.grad.any())) is (len(seen) % 2 == 1)
        with torch.no_grad():
            weight.add_(0.3 * torch.randn(weight.shape, generator=rng(epoch), dtype=weight.dtype))
    assert torch.allclose(seen[0], seen[1])  # the same graph, found again without gradients
    assert not torch.allclose(seen[1], seen[2])
    assert torch.allclose(model.embed(VIEW).users, out.users)


def test_lattice_makes_a_graph_once_for_an_epoch_and_its_features() -> None:
    view = tiny_view()
    for options, made in (({}, [1, 0, 0, 1, 1, 0]), ({"trainable_features": True}, [1, 0, 0, 0, 0, 0])):
        model = LATTICE(view, dim=3, k=3, keep=0.1, **options)  # type: ignore[arg-type]
        model.start_epoch(1)
        first, second = FeatureMask(0.5).pair(view, rng(1))
        graph, calls, found, out = model._graph, [], [], []

        def counted(view: GraphView, graph: Any = graph, calls: Any = calls) -> Any:
            calls.append(1)
            return graph(view)

        model._graph = counted  # type: ignore[method-assign]
        for one in (view, view, view.with_edges(torch.arange(5)), first, second, first):
            out.append(model.embed_in_training(one, rng()).items)
            found.append(len(calls) - sum(found))
        assert found == made
        assert torch.allclose(out[3], out[4], atol=1e-4) is bool(options)  # two masks, two graphs
        assert torch.allclose(out[3], out[5], atol=1e-6)
        del first, second, one, out
        model.embed_in_training(view, rng())
        assert len(model._learned) == 1  # what is gone takes no memory


@pytest.mark.parametrize("kind", ["mlp", "linear"])
def test_alpharec_by_hand(kind: Literal["mlp", "linear"]) -> None:
    clicks = by_hand.clicks_by_hand(VIEW)
    histories = []
    for name, rows in FEATURES.items():
        known = clicks * PRESENT[name]
        histories.append(known @ rows / np.maximum(known.sum(axis=1, keepdims=True), 1))
    x = np.concatenate([np.concatenate(histories, axis=1), TOGETHER])

    def losses(values: dict[str, Array]) -> dict[str, float]:
        if kind == "mlp":
            start = linear(values, "map.2", leaky(linear(values, "map.0", x), 0.01))
        else:
            start = linear(values, "map", x)
        users, items = by_hand.mean_of_layers(VIEW, start, 1)
        users, items = unit(users), unit(items)
        total = 0.0
        for u, i, j in zip(USERS, ITEMS, NEGATIVES, strict=True):
            positive, negative = np.exp(users[u] @ items[i] / 0.3), np.exp(users[u] @ items[j] / 0.3)
            total -= np.log(positive / (positive + negative))
        return {"softmax": total / len(USERS)}

    options = {"n_layers": 1, "temperature": 0.3, "negatives": 1, "kind": kind}
    assert_by_hand(AlphaRec(VIEW, dim=3, **options).double(), losses)  # type: ignore[arg-type]


def test_alpharecs_negatives_in_a_small_and_a_large_catalogue_are_the_same() -> None:
    """One column and few negatives take the way of large catalogues, many columns the other."""
    view = tiny_view()
    found = []
    for dim in (1, 64):
        model = AlphaRec(view, dim=dim, negatives=2, kind="linear", temperature=0.5)
        out = model.embed(view)
        users, items = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 4, 2])
        negatives = torch.tensor([[2, 4], [0, 3], [1, 5], [0, 5]])
        loss = model.losses(out, Batch(users, items, negatives, rng()), view)["softmax"]
        cosines = (out.users[users][:, None] * out.items[torch.cat([items[:, None], negatives], dim=1)]).sum(
            dim=2
        )
        expected = -torch.log_softmax(cosines / 0.5, dim=1)[:, 0].mean()
        assert torch.allclose(loss, expected, atol=1e-6)
        found.append(len(negatives.unique()) <= 2 * dim)
    assert found == [False, True]


def test_alpharec_depends_on_which_item_has_which_words() -> None:
    view = tiny_view()
    model = AlphaRec(view, dim=4)
    order = torch.tensor([1, 2, 0, 3, 5, 4])
    mixed = view.changed(features={name: rows[order] for name, rows in view.features.items()})
    assert not torch.allclose(model.embed(view).users, model.embed(mixed).users, atol=1e-3)
    with pytest.raises(ConfigError, match=r"AlphaRec.modality is 'sound', expected one of image, text"):
        AlphaRec(view, modality="sound")


def test_sige_by_hand() -> None:
    clicks = by_hand.clicks_by_hand(VIEW)
    counts = clicks.T @ clicks
    np.fill_diagonal(counts, 0)
    top = [
        (i, j, counts[i, j])
        for i in range(6)
        for j in sorted(range(6), key=lambda j: (-counts[i, j], j))[:3]
        if counts[i, j]
    ]
    together = symmetric_by_hand(top, 6)
    graphs = {}
    for name, rows in FEATURES.items():
        near = [(i, j, max(c, 0.0)) for i, j, c in nearest_by_hand(rows, 3, PRESENT[name])]
        graphs[name] = 0.6 * symmetric_by_hand(near, 6) + 0.4 * together

    def losses(values: dict[str, Array]) -> dict[str, float]:
        users, items = by_hand.mean_of_layers(VIEW, values["table"], 2)
        behaviour, semantics = np.concatenate([users, items]), []
        for name, rows in FEATURES.items():
            hidden = leaky(linear(values, f"gates.{name}.0", rows), 0.01)
            gated = values["table"][5:] * sigmoid(linear(values, f"gates.{name}.2", hidden))
            of_items = graphs[name] @ gated
            of_users = clicks @ of_items / np.maximum(clicks.sum(axis=1, keepdims=True), 1)
            semantics.append(np.concatenate([of_users, of_items]))
        weights = softmax(np.stack([(behaviour * one).sum(axis=1) for one in semantics], axis=1))
        mixed = sum(weights[:, [n]] * one for n, one in enumerate(semantics))
        out = behaviour + mixed
        noise = anchor = align = 0.0
        for some in (np.array(DISTINCT[0]), 5 + np.array(DISTINCT[1])):
            noise += sum(info_nce(one[some], one[some], 0.5) for one in semantics)
            for node in some:
                powers = [np.exp(unit(behaviour)[node] @ unit(one)[some].T / 0.5) for one in semantics]
                own = [np.exp(unit(behaviour)[node] @ unit(one)[node] / 0.5) for one in semantics]
                anchor -= np.log(sum(own) / sum(one.sum() for one in powers)) / len(some)
            align += info_nce(behaviour[some], mixed[some], 0.5)
        rows = out[USERS], out[5 + np.array(ITEMS)], out[5 + np.array(NEGATIVES)]
        return {
            "bpr": by_hand.bpr(*rows),
            "noise": 0.1 * noise,
            "anchor": 0.2 * float(anchor),
            "align": 0.3 * align,
            "l2": 0.4 * squares(*rows),
        }

    weights = {"noise_weight": 0.1, "anchor_weight": 0.2, "align_weight": 0.3, "reg": 0.4}
    options = {"k": 3, "share": 0.4, "scale": 0.0, "temperature": 0.5, **weights}
    assert_by_hand(SIGE(VIEW, dim=3, **options).double(), losses)  # type: ignore[arg-type]


def test_sige_says_that_it_is_a_reconstruction() -> None:
    with pytest.raises(ConfigError, match="its formulas are a reconstruction"):
        SIGE(tiny_view(), experimental=False)
