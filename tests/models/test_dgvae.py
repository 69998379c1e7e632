from __future__ import annotations

import numpy as np
import pytest
import torch

from mmrec.augment.edge_drop import EdgeDrop
from mmrec.augment.node_drop import NodeDrop
from mmrec.auxiliary.view_contrast import ViewContrast
from mmrec.errors import ConfigError
from mmrec.models.dgvae import DGVAE, _Chance, _mixture
from mmrec.models.words import item_words
from mmrec.train.streams import keep
from tests.cases import by_hand
from tests.cases.by_hand import (
    USERS,
    VIEW,
    Array,
    assert_by_hand,
    linear,
    sigmoid,
    softmax,
    unit,
)
from tests.cases.planted import dense_item_graph, planted_blocks, rng, tiny_view

OPTIONS = {"dim": 2, "n_tastes": 2, "words": 2, "words_per_item": 1}
USED = sorted(set(USERS))


def encode(
    values: dict[str, Array], net: str, x: Array, graph: Array | None, source: torch.Generator
) -> tuple[Array, Array, Array]:
    """Tastes [B, K, D], their log-variance, and log c; chance in the model's order, dropout and noise 0."""
    logits = unit(values[f"{net}.table"]) @ unit(values[f"{net}.prototypes"]).T / 0.5
    draw = torch.rand(logits.shape, generator=source, dtype=torch.float64).numpy()
    shares = softmax(logits - np.log(-np.log(np.clip(draw, 1e-10, 1 - 1e-7))))
    tastes, variances = [], []
    for k in range(2):
        part = unit(x * shares[:, k])
        if graph is not None:
            part = (part @ graph @ graph + part) / 2
        keep(part.shape, 1.0, source)
        hidden = linear(values, f"{net}.encoder", part)
        torch.randn(len(x), 2, generator=source, dtype=torch.float64)
        tastes.append(unit(unit(hidden[:, :2])))
        variances.append(-hidden[:, 2:])
    return np.stack(tastes, axis=1), np.stack(variances, axis=1), np.log(shares)


def attend(query: Array, other: Array) -> Array:
    out = np.zeros_like(query)
    for user in range(len(query)):
        distance = np.array([[np.abs(a - b).sum() for b in other[user]] for a in query[user]])
        near = sigmoid(distance.mean(axis=1, keepdims=True) - distance)
        out[user] = (np.tanh(query[user] @ other[user].T) * near) @ other[user]
    return out


def losses(values: dict[str, Array]) -> dict[str, float]:
    clicks = by_hand.clicks_by_hand(VIEW)
    of_items = item_words(VIEW, 2, 1).double().numpy()
    count = clicks @ of_items
    words = unit(count * (np.log((1 + 5) / (1 + (count > 0).sum(axis=0))) + 1))
    source = rng(5)
    inputs = clicks[USED], words[USED]
    found = [
        encode(values, "clicks", inputs[0], dense_item_graph(VIEW), source),
        encode(values, "words", inputs[1], None, source),
    ]
    by_clicks, by_words = attend(found[0][0], found[1][0]), attend(found[1][0], found[0][0])
    mixed = by_clicks + by_words
    entropies, divergences = [], []
    for net, x, (_, variance, shares) in zip(("clicks", "words"), inputs, found, strict=True):
        table = unit(values[f"{net}.table"])
        powers = sum(np.exp(shares[:, k] + mixed[:, k] @ table.T / 0.5) for k in range(2))
        entropies.append(-(x * np.log(powers / powers.sum(axis=1, keepdims=True))).sum(axis=1).mean())
        divergences.append((-0.5 * (1 + variance - np.exp(variance))).sum(axis=(1, 2)).mean())
    scores = by_words @ by_clicks.transpose(0, 2, 1)
    own = np.log1p(np.exp(-np.stack([scores[:, k, k] for k in range(2)], axis=1)))
    others = np.log1p(np.exp(np.stack([scores[:, 0, 1], scores[:, 1, 0]], axis=1)))
    return {
        "clicks": float(entropies[0]),
        "words": 0.3 * float(entropies[1]),
        "kl": 0.1 * float(divergences[0] + 0.3 * divergences[1]),
        "information": 0.6 * float((own + others).mean()),
    }


def make() -> DGVAE:
    weights = {"word_weight": 0.3, "information_weight": 0.6, "temperature": 0.5}
    model = DGVAE(VIEW, dropout=0.0, noise=0.0, anneal_steps=10, **weights, **OPTIONS).double()  # type: ignore[arg-type]
    model.get_buffer("steps").fill_(1)
    return model


def test_losses_and_gradients_by_hand() -> None:
    assert_by_hand(make(), losses)


def test_scores_are_the_mixtures_of_exponentials() -> None:
    model = make()
    by_hand.set_by_formula(model)
    with torch.no_grad():
        out = model.for_ranking(model.embed(VIEW))
        found = model.score(out, torch.tensor([2, 0]))
        tastes = model.tastes(VIEW, torch.tensor([2, 0]), None)
        decoded = model.clicks.decode(tastes.mixed, tastes.of_clicks, 0.5)
    assert torch.allclose(found, decoded)
    assert torch.allclose(tastes.of_clicks.log_shares.exp().sum(dim=1), torch.ones(6, dtype=torch.float64))


def test_decoding_does_not_overflow() -> None:
    """With 20 tastes the exponents reach 400; float32 ends at 88."""
    tastes = torch.full((3, 20, 4), 10.0)
    items = torch.nn.functional.normalize(torch.ones(5, 4), dim=1)
    found = _mixture(tastes, items, torch.full((5, 20), -3.0), 0.1)
    assert torch.allclose(found, torch.full((3, 5), 200.0 - 3.0 + float(np.log(20))), rtol=1e-4)


def test_kl_weight_grows_with_the_steps_up_to_its_cap() -> None:
    view = planted_blocks().data.train
    model = DGVAE(view, dim=4, anneal_cap=0.2, anneal_steps=10)
    found = []
    for _ in range(4):
        out = model.embed_in_training(view, rng())
        found.append(float(model.losses(out, by_hand.batch(), view)["kl"].detach()))
    assert int(model.get_buffer("steps")) == 4
    assert found[0] > 0
    assert found == pytest.approx([weight / 0.1 * found[0] for weight in (0.1, 0.2, 0.2, 0.2)])
    model.losses(model.embed(view), by_hand.batch(), view)
    assert int(model.get_buffer("steps")) == 4


def test_a_step_is_one_step_of_the_annealing_whatever_helps_it() -> None:
    """Two more forward passes for views."""
    view = planted_blocks().data.train
    model = DGVAE(view, dim=4)
    helpers = [ViewContrast(view, augmentation=EdgeDrop(0.5)), ViewContrast(view, augmentation=NodeDrop(0.5))]
    for step in range(1, 4):
        batch = by_hand.batch()
        out = model.embed_in_training(view, batch.rng)
        model.losses(out, batch, view)
        for helper in helpers:
            helper.losses(model, view, out, batch, rng())
        assert int(model.get_buffer("steps")) == step


def test_words_are_those_of_the_models_own_options() -> None:
    view = tiny_view()
    few, more = (DGVAE(view, dim=2, n_tastes=2, words=words, words_per_item=1) for words in (1, 2))
    assert few._words(view).shape == (5, 2)
    assert more._words(view).shape == (5, 4)
    again = view.with_edges(torch.arange(4))
    assert few._words(again).shape == (5, 2)


def test_gumbel_draws_follow_the_distribution_they_should() -> None:
    """The largest of logits plus Gumbel is a draw from their softmax."""
    logits = torch.tensor([0.0, 1.0, -1.0]).expand(60_000, 3)
    drawn = (logits + _Chance(rng(), 0.0, 0.0).gumbel(logits)).argmax(dim=1)
    share = torch.bincount(drawn).double() / len(drawn)
    assert torch.allclose(share, torch.softmax(logits[0], dim=0).double(), atol=0.01)


def test_words_are_the_nearest_centres() -> None:
    planted = planted_blocks()
    view = planted.data.train
    words = item_words(view, 4, 1)
    assert words.shape == (28, 8)
    assert (words.sum(dim=1) == 2).all()  # one of each modality
    block = torch.arange(28) // 7
    for number in range(4):  # items of a block have the same words, of different blocks others
        assert torch.equal(words[block == number], words[block == number][:1].expand(7, -1))
    assert len(torch.unique(words, dim=0)) == 4
    assert not item_words(tiny_view(), 3, 1)[3, 3:].any()  # item 3 has no text


def test_options_out_of_range_are_one_line() -> None:
    with pytest.raises(ConfigError, match=r"DGVAE has n_tastes 1 and dropout 0.5, expected at least 2"):
        DGVAE(tiny_view(), n_tastes=1)


def test_kl_is_never_negative() -> None:
    view = planted_blocks().data.train
    model = DGVAE(view, dim=4)
    model.get_buffer("steps").fill_(1000)
    for seed in range(5):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng(seed)))
        assert float(by_hand.result_of(model, view, seed).losses["kl"]) >= 0
