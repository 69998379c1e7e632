from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmrec.augment.degree_drop import DegreeDrop
from mmrec.errors import ConfigError, GraphError
from mmrec.models.freedom import FREEDOM
from mmrec.models.lightgcn import LightGCN
from tests.cases import by_hand
from tests.cases.by_hand import (
    ITEMS,
    NEGATIVES,
    USERS,
    Array,
    assert_gradients,
    numerical_gradient,
    result_of,
    view64,
)
from tests.cases.planted import dense_item_graph, rng, tiny_view


def embeddings_by_hand(table: Array, n_ui_layers: int, n_item_layers: int) -> tuple[Array, Array]:
    users, items = by_hand.mean_of_layers(view64(), table, n_ui_layers)
    graph = np.linalg.matrix_power(dense_item_graph(view64()), n_item_layers)
    return users, items + graph @ table[5:]


def losses_by_hand(
    values: dict[str, Array], *, n_ui_layers: int, n_item_layers: int, weight: float
) -> dict[str, float]:
    """BPR(u; x + h) + weight * sum over modalities of BPR(u; f W)."""
    users, items = embeddings_by_hand(values["table"], n_ui_layers, n_item_layers)
    losses = {"bpr": by_hand.bpr(users[USERS], items[ITEMS], items[NEGATIVES])}
    for name, frozen in view64().features.items() if weight else ():
        features = values.get(f"projection.tables.{name}", frozen.numpy())
        projected = features @ values[f"projection.maps.{name}.weight"].T
        losses[name] = weight * by_hand.bpr(users[USERS], projected[ITEMS], projected[NEGATIVES])
    return losses


@pytest.mark.parametrize("trainable_features", [False, True])
@pytest.mark.parametrize(
    ("n_ui_layers", "n_item_layers", "weight"), [(2, 1, 0.7), (1, 2, 0.7), (0, 0, 0.7), (2, 1, 0.0)]
)
def test_losses_and_gradients_by_hand(
    n_ui_layers: int, n_item_layers: int, weight: float, trainable_features: bool
) -> None:
    model = FREEDOM(
        view64(),
        dim=3,
        n_ui_layers=n_ui_layers,
        n_item_layers=n_item_layers,
        modality_weight=weight,
        trainable_features=trainable_features,
    ).double()
    by_hand.set_by_formula(model)
    found, at = result_of(model, view64()), by_hand.parameters_of(model)
    assert ("projection.tables.image" in at) is (trainable_features and weight > 0)

    def by_formula(values: dict[str, Array]) -> dict[str, float]:
        return losses_by_hand(values, n_ui_layers=n_ui_layers, n_item_layers=n_item_layers, weight=weight)

    assert found.losses == pytest.approx(by_formula(at), rel=1e-9)
    assert_gradients(found.gradients, numerical_gradient(lambda values: sum(by_formula(values).values()), at))


def test_the_defaults() -> None:
    model = FREEDOM(tiny_view())
    assert (model.table.shape[1], model.n_layers, model.n_item_layers) == (64, 2, 1)
    assert (model.reg, model.modality_weight) == (0.0, 1e-3)
    assert not list(model.projection.tables)


def test_scores_by_hand_do_not_use_the_modalities() -> None:
    model = FREEDOM(view64(), dim=3).double()
    by_hand.set_by_formula(model)
    users, items = embeddings_by_hand(by_hand.parameters_of(model)["table"], 2, 1)
    expected = users @ items.T
    changed = replace(view64(), features={name: 9 * matrix for name, matrix in view64().features.items()})
    for view in (view64(), changed):
        found = model.score(model.for_ranking(model.embed(view)), torch.arange(5))
        assert np.allclose(found.detach(), expected)


def test_without_pruning_and_item_graph_it_is_lightgcn() -> None:
    view = tiny_view()
    empty = torch.empty(2, 0, dtype=torch.int64)
    alone = replace(view, item_edge_index=empty, item_edge_weight=torch.empty(0))
    model, lightgcn = FREEDOM(alone, dim=4), LightGCN(view, dim=4, n_layers=2)
    with torch.no_grad():
        lightgcn.table.copy_(model.table)
    out, expected = model.embed(alone), lightgcn.embed(view)
    assert torch.equal(out.users, expected.users)
    assert torch.equal(out.items, expected.items)


def test_pruning_at_rate_zero_is_the_full_graph() -> None:
    view = tiny_view()
    model = FREEDOM(view, dim=4)
    full, pruned = model.embed(view), model.embed(DegreeDrop(0.0)(view, rng()))
    assert torch.equal(full.users, pruned.users)
    assert torch.equal(full.items, pruned.items)


def test_pruned_clicks_carry_nothing_and_the_item_graph_stays() -> None:
    view = tiny_view()
    model = FREEDOM(view, dim=4)
    pruned = DegreeDrop(0.9)(view, rng())
    ((user, item),) = pruned.edge_index.T.tolist()
    out = model.embed(pruned)
    for other in {0, 1, 2, 3, 4} - {user}:
        assert torch.allclose(out.users[other], model.table[other] / 3)
    near = torch.from_numpy(dense_item_graph(view)).float() @ model.table[5:]
    for other in {0, 1, 2, 3, 4, 5} - {item}:
        assert torch.allclose(out.items[other], model.table[5 + other] / 3 + near[other], atol=1e-6)


def test_trained_features_are_copies() -> None:
    view = tiny_view()
    before = view.features["image"].clone()
    model = FREEDOM(view, dim=4, trainable_features=True)
    with torch.no_grad():
        model.projection.tables["image"].add_(1)
    assert torch.equal(view.features["image"], before)


def test_frozen_features_are_the_views() -> None:
    view = tiny_view()
    model = FREEDOM(view, dim=4)
    doubled = replace(view, features={name: 2 * matrix for name, matrix in view.features.items()})
    rows = model.projection.rows(view, "image", torch.tensor([2, 0]))
    assert torch.allclose(model.projection.rows(doubled, "image", torch.tensor([2, 0])), 2 * rows)
    trained = FREEDOM(view, dim=4, trainable_features=True)
    rows = trained.projection.rows(view, "image", torch.tensor([2, 0]))
    assert torch.equal(trained.projection.rows(doubled, "image", torch.tensor([2, 0])), rows)


def test_what_it_cannot_do_without() -> None:
    bare = replace(tiny_view(), features={}, present={})
    with pytest.raises(ConfigError, match="has a modality_weight and no features; set it to 0"):
        FREEDOM(bare)
    model = FREEDOM(bare, modality_weight=0.0)
    assert model.embed(bare).items.shape == (6, 64)
    with pytest.raises(GraphError, match="needs an item graph"):
        model.embed(tiny_view(item_graph=False))
