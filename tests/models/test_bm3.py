from __future__ import annotations

import numpy as np
import pytest
import torch

from mmrec.errors import ConfigError
from mmrec.models.base import Embeddings
from mmrec.models.bm3 import BM3
from mmrec.train.streams import keep
from tests.cases import by_hand
from tests.cases.by_hand import (
    ITEMS,
    USERS,
    Array,
    assert_gradients,
    batch,
    numerical_gradient,
    result_of,
    view64,
)
from tests.cases.planted import rng, tiny_view


def embeddings_by_hand(table: Array, n_layers: int) -> tuple[Array, Array]:
    users, items = by_hand.mean_of_layers(view64(), table, n_layers)
    return users, items + table[5:]


def kept(count: int, dropout: float, seed: int) -> list[Array]:
    """What the batch's generator keeps of each target, scaled: users, items, image, text."""
    source = rng(seed)
    masks = [keep((len(USERS), 3), 1 - dropout, source).double() for _ in range(count)]
    return [mask.numpy() / (1 - dropout) for mask in masks]


def losses_by_hand(
    values: dict[str, Array],
    still: dict[str, Array],
    *,
    n_layers: int,
    dropout: float,
    reg: float,
    weight: float,
) -> dict[str, float]:
    """The paper's formulas. `still` are the values that targets are made of, which no derivative sees."""

    def rows(values: dict[str, Array]) -> tuple[Array, Array, dict[str, Array]]:
        users, items = embeddings_by_hand(values["table"], n_layers)
        modalities = {
            name: (
                values.get(f"projection.tables.{name}", frozen.numpy())[ITEMS]
                @ values[f"projection.maps.{name}.weight"].T
                + values[f"projection.maps.{name}.bias"]
            )
            for name, frozen in view64().features.items()
        }
        return users[USERS], items[ITEMS], modalities

    def predict(rows: Array) -> Array:
        return rows @ values["predictor.weight"].T + values["predictor.bias"]

    users, items, modalities = rows(values)
    target_users, target_items, target_modalities = rows(still)
    masks = kept(2 + len(modalities), dropout, seed=5)
    user_target, item_target = target_users * masks[0], target_items * masks[1]
    losses = {
        "users": by_hand.distance(predict(users), item_target),
        "items": by_hand.distance(predict(items), user_target),
    }
    for (name, online), mask in zip(modalities.items(), masks[2:], strict=True):
        across = by_hand.distance(predict(online), item_target)
        within = by_hand.distance(predict(online), target_modalities[name] * mask)
        losses[name] = weight * (across + within)
    if reg:
        all_users, all_items = embeddings_by_hand(values["table"], n_layers)
        losses["l2"] = reg * (np.sqrt((all_users**2).sum()) + np.sqrt((all_items**2).sum())) / 6
    return losses


@pytest.mark.parametrize("trainable_features", [False, True])
@pytest.mark.parametrize(
    ("n_layers", "dropout", "reg", "weight"), [(1, 0.3, 0.1, 2.0), (2, 0.0, 0.1, 0.5), (0, 0.3, 0.0, 1.0)]
)
def test_losses_and_gradients_by_hand(
    n_layers: int, dropout: float, reg: float, weight: float, trainable_features: bool
) -> None:
    model = BM3(
        view64(),
        dim=3,
        n_layers=n_layers,
        dropout=dropout,
        reg=reg,
        modality_weight=weight,
        trainable_features=trainable_features,
    ).double()
    by_hand.set_by_formula(model)
    found, at = result_of(model, view64()), by_hand.parameters_of(model)

    def by_formula(values: dict[str, Array]) -> dict[str, float]:
        return losses_by_hand(values, at, n_layers=n_layers, dropout=dropout, reg=reg, weight=weight)

    assert found.losses == pytest.approx(by_formula(at), rel=1e-8)
    assert_gradients(found.gradients, numerical_gradient(lambda values: sum(by_formula(values).values()), at))


def test_the_defaults() -> None:
    model = BM3(tiny_view())
    assert (model.table.shape[1], model.n_layers, model.dropout) == (64, 1, 0.5)
    assert (model.reg, model.modality_weight) == (0.1, 2.0)
    assert not list(model.projection.tables)


def test_no_gradient_into_targets() -> None:
    """With the predictor's weight at zero, nothing online is left: only a target could bring a gradient."""
    model = BM3(view64(), dim=3, reg=0.0).double()
    by_hand.set_by_formula(model)
    with torch.no_grad():
        model.predictor.weight.zero_()
    gradients = result_of(model, view64()).gradients
    assert gradients["predictor.bias"].any()
    assert not gradients["table"].any()
    assert not gradients["projection.maps.image.weight"].any()


def test_each_term_is_between_zero_and_two() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        model = BM3(tiny_view(), dim=4, reg=0.0, modality_weight=1.0)
        losses = result_of(model, tiny_view(), seed).losses
        assert 0 <= losses["users"] <= 2
        assert 0 <= losses["items"] <= 2
        assert 0 <= losses["image"] <= 4
        assert 0 <= losses["text"] <= 4


def test_nothing_is_lost_where_both_sides_agree() -> None:
    view = view64()
    model = BM3(view, dim=3, dropout=0.0, reg=0.0).double()
    with torch.no_grad():
        model.predictor.weight.copy_(torch.eye(3))
        model.predictor.bias.zero_()
    same = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    out = Embeddings(same.expand(5, 3), 2 * same.expand(6, 3))
    losses = {name: value.item() for name, value in model.losses(out, batch(), view).items()}
    assert losses["users"] == pytest.approx(0, abs=1e-12)
    assert losses["items"] == pytest.approx(0, abs=1e-12)


def test_dropout_is_of_targets_alone_and_scaled() -> None:
    model = BM3(tiny_view(), dim=4, dropout=0.25)
    rows = torch.ones(4000, 4, requires_grad=True)
    target = model._target(rows, rng())
    assert not target.requires_grad
    assert set(target.unique().tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert float(target.mean()) == pytest.approx(1, abs=0.02)


def test_items_have_their_own_row_added_once_more() -> None:
    view = tiny_view()
    model = BM3(view, dim=4, n_layers=1)
    out = model.embed(view)
    assert torch.allclose(
        out.items[5], 1.5 * model.table[10]
    )  # nobody clicked it: half of its row, plus its row
    assert torch.allclose(out.users[4], 0.5 * model.table[4])


def test_ranking_is_by_predicted_vectors() -> None:
    model = BM3(view64(), dim=3).double()
    by_hand.set_by_formula(model)
    at = by_hand.parameters_of(model)
    users, items = (
        rows @ at["predictor.weight"].T + at["predictor.bias"] for rows in embeddings_by_hand(at["table"], 1)
    )
    found = model.score(model.for_ranking(model.embed(view64())), torch.arange(5))
    assert np.allclose(found.detach(), users @ items.T)


def test_one_predictor_serves_all() -> None:
    shapes = {name: tuple(value.shape) for name, value in BM3(tiny_view(), dim=4).named_parameters()}
    assert shapes == {
        "table": (11, 4),
        "predictor.weight": (4, 4),
        "predictor.bias": (4,),
        "projection.maps.image.weight": (4, 3),
        "projection.maps.image.bias": (4,),
        "projection.maps.text.weight": (4, 4),
        "projection.maps.text.bias": (4,),
    }


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_out_of_range(dropout: float) -> None:
    with pytest.raises(ConfigError, match=f"BM3.dropout is {dropout}, expected at least 0 and below 1"):
        BM3(tiny_view(), dropout=dropout)
