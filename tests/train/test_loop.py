from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmrec.augment.base import Augmentation
from mmrec.compiled import compiled
from mmrec.errors import ConfigError, TrainingError
from mmrec.evaluate.evaluator import Evaluator, Scores
from mmrec.graph import native
from mmrec.graph.view import GraphView
from mmrec.models.base import Batch, Embeddings, Recommender
from mmrec.models.freedom import FREEDOM
from mmrec.models.lightgcn import LightGCN
from mmrec.models.popularity import Popularity
from mmrec.train.loop import History, fit
from mmrec.train.sampler import PairSampler
from mmrec.train.streams import seeded, stream
from tests.cases import by_hand
from tests.cases.by_hand import Array, numerical_gradient
from tests.cases.planted import as_data, assert_same_tensors, copies, planted_blocks, tiny_view

Validate = Callable[[Recommender, GraphView], Scores]


def valued(values: list[float], seen: list[dict[str, Tensor]] | None = None) -> Validate:
    """Scores as scripted, the last one from then on; keeps the weights at each evaluation."""
    left = list(values)

    def validate(model: Recommender, view: GraphView) -> Scores:
        if seen is not None:
            seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return Scores({"recall@20": left.pop(0) if len(left) > 1 else left[0]}, 1, 0, 0)

    return validate


def small(seed: int = 0, **options: Any) -> LightGCN:
    with seeded(seed, "init"):
        return LightGCN(tiny_view(), **{"dim": 3, "n_layers": 1, "reg": 0.1, **options})


def run(model: Recommender, validate: Validate | None = None, **options: Any) -> History:
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 100, "device": "cpu", **options}
    return fit(model, settings.pop("view", tiny_view()), validate or valued([0.0]), **settings)


def losses_by_hand(table: Array, batch: Batch) -> float:
    """LightGCN with one layer, reg 0.1, for one batch."""
    users, items, negatives = batch.users.tolist(), batch.items.tolist(), batch.negatives.tolist()
    out_users, out_items = by_hand.mean_of_layers(tiny_view(), table, 1)
    ego = (table[users], table[[5 + item for item in items]], table[[5 + item for item in negatives]])
    penalty = 0.5 * sum((rows**2).sum() for rows in ego) / len(users)
    return by_hand.bpr(out_users[users], out_items[items], out_items[negatives]) + 0.1 * float(penalty)


@pytest.mark.parametrize("batch_size", [100, 4])
def test_three_epochs_are_hand_written_steps_of_adam(batch_size: int) -> None:
    lr, decay, every, weight_decay = 0.05, 0.5, 2, 0.01
    model = small()
    table = model.table.detach().double().numpy().copy()
    seen: list[dict[str, Tensor]] = []
    run(
        model,
        valued([1.0, 2.0, 3.0], seen),
        batch_size=batch_size,
        lr=lr,
        lr_decay=decay,
        lr_decay_epochs=every,
        weight_decay=weight_decay,
        seed=4,
    )
    source, sampler = stream(4, "sampling"), PairSampler(tiny_view(), batch_size)
    first, second, step = np.zeros_like(table), np.zeros_like(table), 0
    for epoch in range(3):
        for batch in sampler.epoch(source):
            at = {"table": table}
            gradient = numerical_gradient(
                lambda values, batch=batch: losses_by_hand(values["table"], batch), at
            )["table"]
            gradient = gradient + weight_decay * table
            step += 1
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            rate = lr * decay ** (epoch / every)
            table = table - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        assert np.allclose(seen[epoch]["table"], table, atol=2e-4), epoch
    assert step == 3 * math.ceil(10 / batch_size)


def test_losses_in_the_log_are_means_over_steps() -> None:
    rows: list[dict[str, float]] = []

    class Keep:
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            assert step == metrics["epoch"]
            rows.append(dict(metrics))

    model = small()
    table = model.table.detach().double().numpy()
    history = run(model, valued([0.25]), epochs=2, lr=1e-12, logs=(Keep(),), batch_size=4, eval_every=2)
    sampler = PairSampler(tiny_view(), 4)
    expected = np.mean([losses_by_hand(table, batch) for batch in sampler.epoch(stream(0, "sampling"))])
    assert rows[0]["loss"] == pytest.approx(expected, rel=1e-5)
    assert rows[0]["loss"] == pytest.approx(rows[0]["loss_bpr"] + rows[0]["loss_l2"])
    assert "valid_recall@20" not in rows[0]
    assert rows[1]["valid_recall@20"] == 0.25
    assert history.rows == rows


@pytest.mark.parametrize("patience", [0, 2])
def test_it_stops_after_patience_and_restores_the_best(patience: int) -> None:
    seen: list[dict[str, Tensor]] = []
    model = small()
    history = run(model, valued([0.1, 0.3, 0.2], seen), epochs=50, patience=patience)
    assert history.epochs == len(seen) == 2 + patience + 1
    assert (history.best_epoch, history.best_value) == (2, 0.3)
    assert torch.equal(model.table, seen[1]["table"])
    assert not torch.equal(model.table, seen[2]["table"])


def test_patience_counts_evaluations_not_epochs() -> None:
    history = run(small(), valued([0.1]), epochs=50, patience=1, eval_every=4)
    assert history.epochs == 12
    assert history.best_epoch == 4


def test_the_last_epoch_is_always_evaluated() -> None:
    seen: list[dict[str, Tensor]] = []
    history = run(small(), valued([0.1, 0.2], seen), epochs=5, eval_every=3)
    assert len(seen) == 2
    assert history.best_epoch == 5


def test_a_run_that_is_never_good_gets_its_first_epochs_weights() -> None:
    seen: list[dict[str, Tensor]] = []
    model = small()
    assert run(model, valued([0.0], seen)).best_epoch == 1
    assert torch.equal(model.table, seen[0]["table"])


def test_the_seed_decides_everything_and_torchs_generator_is_left_alone() -> None:
    def trained(seed: int) -> Tensor:
        model = small(0)
        run(model, valued([1.0, 2.0, 3.0]), seed=seed, batch_size=4)
        return model.table.detach()

    torch.manual_seed(1)
    first = trained(0)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(trained(0), first)
    assert not torch.equal(trained(1), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


class Halve(Augmentation):
    """Every other click, and which half by chance; keeps what it was given and what it gave."""

    def __init__(self) -> None:
        self.calls: list[tuple[GraphView, GraphView]] = []

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        start = int(torch.randint(2, (), generator=rng))
        out = view.with_edges(torch.arange(start, view.edge_index.shape[1], 2))
        self.calls.append((view, out))
        return out


def test_training_sees_an_augmented_view_per_epoch_and_validation_the_clean_one() -> None:
    view, augment = tiny_view(), Halve()
    model = small()
    embedded: list[GraphView] = []
    embed = model.embed
    model.embed = lambda view: (embedded.append(view), embed(view))[1]  # type: ignore[method-assign]
    validated: list[GraphView] = []

    def validate(model: Recommender, view: GraphView) -> Scores:
        validated.append(view)
        return Scores({"recall@20": 0.0}, 1, 0, 0)

    run(model, validate, view=view, augment=augment, epochs=3, batch_size=4)
    assert [before for before, _ in augment.calls] == [view] * 3
    assert embedded == [after for _, after in augment.calls for _ in range(3)]
    assert validated == [view] * 3


def test_augmentations_and_the_global_generator_follow_the_seed() -> None:
    def drawn(seed: int) -> tuple[list[int], list[float]]:
        model, augment = small(), Halve()
        losses, numbers = model.losses, []

        def keep(out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
            numbers.append(float(torch.rand(())))
            return losses(out, batch, view)

        model.losses = keep  # type: ignore[method-assign]
        run(model, augment=augment, epochs=12, seed=seed, patience=99)
        return [int(out.edge_index[1, 0]) for _, out in augment.calls], numbers

    (halves, numbers), (others, other_numbers) = drawn(0), drawn(1)
    assert (halves, numbers) == drawn(0)
    assert halves != others
    assert not set(numbers) & set(other_numbers)
    assert len(set(numbers)) == 12


def test_pairs_and_negatives_come_from_the_clean_view() -> None:
    model = small()
    drawn: list[tuple[int, int]] = []
    losses = model.losses

    def keep(out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        drawn.extend(zip(batch.users.tolist(), batch.items.tolist(), strict=True))
        return losses(out, batch, view)

    model.losses = keep  # type: ignore[method-assign]
    run(model, augment=Halve(), epochs=1)
    assert sorted(drawn) == [tuple(click) for click in tiny_view().edge_index.T.tolist()]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_epoch_step_and_losses(bad: float) -> None:
    model = small()
    calls = 0
    losses = model.losses

    def spoiled(out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        found = losses(out, batch, view)
        return {**found, "extra": torch.tensor(bad)} if calls == 5 else {**found, "extra": torch.tensor(0.5)}

    model.losses = spoiled  # type: ignore[method-assign]
    message = rf"not finite in epoch 2, step 2 of 3 \(bpr \d.*, l2 \d.*, extra {bad:g}\)"
    with pytest.raises(TrainingError, match=message) as error:
        run(model, batch_size=4)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "train.epochs is 0, expected a finite number of at least 1"),
        ({"batch_size": 0}, "train.batch_size is 0"),
        ({"eval_every": 0}, "train.eval_every is 0"),
        ({"lr_decay_epochs": 0}, "train.lr_decay_epochs is 0"),
        ({"patience": -1}, "train.patience is -1, expected a finite number of at least 0"),
        ({"lr": -1e-3}, "train.lr is -0.001"),
        ({"lr": float("nan")}, "train.lr is nan"),
        ({"weight_decay": -1.0}, "train.weight_decay is -1.0"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(small(), **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"train\.device 'cuda' is not on this machine"):
        run(small(), device="cuda")


def test_a_model_without_parameters_is_left_as_it_is() -> None:
    history = run(Popularity(tiny_view()), valued([1.0]))
    assert (history.epochs, history.rows) == (0, [])


def test_parameters_that_ask_for_no_gradient_stay() -> None:
    model = small()
    model.frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    run(model, weight_decay=0.5)
    assert torch.equal(model.frozen, torch.ones(2))


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of the result of every sparse product."""
    rows: list[int] = []
    multiply = native.multiply

    def counted(csr: Tensor, x: Tensor, **options: Any) -> Tensor:
        out = multiply(csr, x, **options)
        rows.append(len(out))
        return out

    monkeypatch.setattr(native, "multiply", counted)
    return rows


@pytest.mark.skipif(compiled(native.SOURCE) is None, reason="no C++ compiler, so no native kernel")
def test_a_step_propagates_once_and_its_last_layer_for_the_batch_alone(products: list[int]) -> None:
    data = planted_blocks().data
    evaluator = Evaluator(topk=(5,), metrics=("recall",), monitor="recall@5", batch_size=7)

    def validate(model: Recommender, view: GraphView) -> Scores:
        return evaluator.evaluate(model, view, data.valid)

    nodes, items = data.train.num_users + data.train.num_items, data.train.num_items
    light_gcn, freedom = (
        LightGCN(data.train, dim=4, n_layers=3),
        FREEDOM(data.train, dim=4, modality_weight=0),
    )
    steps = math.ceil(data.train.edge_index.shape[1] / 3)
    # Per step: L forward, the last of them for the batch's nodes, and L backward. Per evaluation: L.
    for model, full in ((light_gcn, 2 + 3), (freedom, 1 + 2)):
        products.clear()
        fit(model, data.train, validate, monitor="recall@5", epochs=2, batch_size=3, device="cpu")
        layers = 3 if model is light_gcn else 2
        assert products.count(nodes) == 2 * (steps * full + layers)
        of_batches = [rows for rows in products if rows <= 9]
        if model is light_gcn:
            assert len(of_batches) == 2 * steps
            assert len(products) == 2 * (steps * 6 + 3)
        else:  # and one layer over the item graph: forward for the batch's items, backward for all items
            assert len(of_batches) == 2 * 2 * steps
            assert products.count(items) == 2 * (steps + 1)
            assert len(products) == 2 * (steps * 6 + 3)


def test_the_test_split_is_still_sealed_after_training_and_opens_once() -> None:
    view = planted_blocks().data.train
    data = as_data(view, valid=view.edge_index[:, :4], test=view.edge_index[:, 4:9])
    evaluator = Evaluator(topk=(5,), metrics=("recall",), monitor="recall@5")
    model = LightGCN(view, dim=4)
    fit(model, data.train, lambda m, v: evaluator.evaluate(m, v, data.valid), monitor="recall@5", epochs=1)
    assert torch.equal(data.test.open(), view.edge_index[:, 4:9])
    with pytest.raises(Exception, match="opened before; it is looked at once"):
        data.test.open()


def test_the_view_it_is_given_is_untouched() -> None:
    view = tiny_view()
    model = small()
    run(model, view=view, augment=Halve())
    assert_same_tensors(view, copies(tiny_view()))
