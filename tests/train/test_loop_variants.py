"""The loop's variants: Mirror Gradient, AdamW, schedules, and models with batches of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mmrec.augment.base import Augmentation
from mmrec.augment.edge_drop import EdgeDrop
from mmrec.auxiliary.view_contrast import ViewContrast
from mmrec.graph.view import GraphView
from mmrec.losses.contrast import InfoNCE
from mmrec.models.base import Batch, Embeddings
from mmrec.models.lightgcn import LightGCN
from mmrec.models.xsimgcl import XSimGCL
from mmrec.train.sampler import PairSampler
from mmrec.train.streams import seeded, stream
from tests.cases.by_hand import Array, numerical_gradient
from tests.cases.planted import tiny_view
from tests.train.test_loop import losses_by_hand, run, small, valued


@pytest.mark.parametrize("every", [1, 2])
def test_mirror_gradient_is_the_reversed_gradient_in_adam_which_mostly_goes_on_down(every: int) -> None:
    """Adam (Kingma and Ba 2015) by its formulas, fed numerical gradients: g, then -0.3 g' taken anew."""
    lr, up, epochs = 0.01, 0.3, 4
    model = small()
    table = model.table.detach().double().numpy().copy()
    options = {"epochs": epochs, "batch_size": 4, "lr": lr, "mirror_every": every, "mirror_up": up, "seed": 5}
    run(model, valued([float(epoch) for epoch in range(epochs)]), **options)

    def gradient(at: Array, batch: Batch) -> Array:
        found = numerical_gradient(lambda values: losses_by_hand(values["table"], batch), {"table": at})
        return found["table"]

    first, second, steps = np.zeros_like(table), np.zeros_like(table), 0
    sampler, source = PairSampler(tiny_view(), 4), stream(5, "sampling")
    rises, plain_rises = [], []
    for _ in range(epochs):
        for number, batch in enumerate(sampler.epoch(source)):
            for factor in (1.0, -up) if number % every == 0 else (1.0,):
                fed, before = factor * gradient(table, batch), losses_by_hand(table, batch)
                plain = table - lr * fed
                first, second, steps = 0.9 * first + 0.1 * fed, 0.999 * second + 0.001 * fed**2, steps + 1
                unbiased = first / (1 - 0.9**steps), second / (1 - 0.999**steps)
                table = table - lr * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
                if factor < 0:
                    rises.append(losses_by_hand(table, batch) - before)
                    plain_rises.append(losses_by_hand(plain, batch) - before)
    assert np.allclose(model.table.detach().numpy(), table, atol=2e-4)
    assert min(plain_rises) > 0, "without averages the step goes up"
    assert np.mean(np.array(rises) < 0) > 0.5, "with Adam's most go on down"


def test_weight_decay_of_its_own_is_adamws() -> None:
    view, model, hand = tiny_view(), small(), small()
    run(model, valued([1.0, 2.0]), epochs=2, lr=0.01, weight_decay=0.5, decoupled=True, seed=5)
    optimizer = torch.optim.AdamW(hand.parameters(), lr=0.01, weight_decay=0.5)
    sampler, source = PairSampler(view, 100), stream(5, "sampling")
    for _ in range(2):
        for batch in sampler.epoch(source):
            optimizer.zero_grad()
            sum(hand.losses(hand.embed(view), batch, view).values(), torch.zeros(())).backward()
            optimizer.step()
    assert torch.allclose(model.table, hand.table, atol=1e-6)


class Noted(LightGCN):
    """Keeps what the loop tells it."""

    def __init__(self, view: GraphView, n: int = 1) -> None:
        super().__init__(view, dim=3)
        self.n_negatives, self.told, self.shapes = n, [], []  # type: ignore[var-annotated]

    def start_epoch(self, epoch: int) -> None:
        self.told.append(epoch)

    def embed_in_training(self, view: GraphView, rng: torch.Generator) -> Embeddings:
        self.told.append("step")
        return self.embed(view)

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        self.shapes.append((tuple(batch.users.shape), tuple(batch.negatives.shape)))
        return {"some": out.rows(batch).negatives.square().mean()}


def test_models_hear_of_epochs_and_embed_for_training_in_each_step() -> None:
    model = Noted(tiny_view(), n=3)
    run(model, valued([1.0, 2.0]), epochs=2, batch_size=5)
    assert model.told == [1, "step", "step", 2, "step", "step"]
    assert model.shapes == [((5,), (5, 3))] * 4


def test_models_that_want_users_get_each_once() -> None:
    class ByUser(Noted):
        batches = "users"

    model = ByUser(tiny_view())
    run(model, valued([1.0]), epochs=1, batch_size=3)
    assert model.shapes == [((3,), (3,)), ((1,), (1,))]  # user 4 has no click


def test_a_schedule_follows_the_epochs() -> None:
    class Seen(Augmentation):
        def __init__(self, log: list[int], epoch: int = 0) -> None:
            self.log, self.epoch = log, epoch

        def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
            self.log.append(self.epoch)
            return view

        def at(self, epoch: int) -> Augmentation:
            return Seen(self.log, epoch)

    epochs: list[int] = []
    steps: list[int] = []
    run(small(), valued([1.0, 2.0]), epochs=2, batch_size=5, augment=Seen(epochs), augment_step=Seen(steps))
    assert epochs == [1, 2]
    assert steps == [1, 1, 2, 2]


def test_losses_of_one_name_are_all_descended() -> None:
    """XSimGCL has a `contrast` of its own, and so has each ViewContrast: none takes another's place."""

    def after(*weights: float) -> dict[str, float]:
        with seeded(0, "init"):
            model = XSimGCL(tiny_view(), dim=3)
        auxiliary = [
            ViewContrast(tiny_view(), augmentation=EdgeDrop(0.5), contrast=InfoNCE(weight=weight))
            for weight in weights
        ]
        return run(model, epochs=1, lr=1e-12, auxiliary=auxiliary).rows[0]

    alone, beside, twice = after(), after(0.0), after(2.0, 2.0)
    assert alone["loss_contrast"] > 0.1
    assert beside["loss_contrast"] == pytest.approx(alone["loss_contrast"])
    assert (beside["loss_contrast-2"], beside["loss"]) == (0, pytest.approx(alone["loss"]))
    assert min(twice["loss_contrast-2"], twice["loss_contrast-3"]) > 0.1
    named = sum(value for name, value in twice.items() if name.startswith("loss_"))
    assert twice["loss"] == pytest.approx(named)
