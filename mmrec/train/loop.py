"""The training loop, top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

import torch
from torch import Tensor

from mmrec.augment.base import Augmentation
from mmrec.augment.drawing import draw
from mmrec.auxiliary.base import Auxiliary
from mmrec.errors import ConfigError, TrainingError
from mmrec.evaluate.evaluator import Scores
from mmrec.graph.view import GraphView
from mmrec.models.base import Batch, Recommender
from mmrec.report.progress import bar
from mmrec.train.device import Device, Precision, runtime
from mmrec.train.probe import probe
from mmrec.train.sampler import PairSampler, UserSampler
from mmrec.train.stopping import EarlyStopping
from mmrec.train.streams import seeded, stream

logger = logging.getLogger("mmrec")


class Log(Protocol):
    """Takes a row of numbers per epoch, as Lightning Fabric's loggers do."""

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Keep the numbers of epoch `step`."""


@dataclass
class History:
    """What happened in training: epochs run, the best of them on valid, its value, and seconds."""

    epochs: int = 0
    best_epoch: int = 0
    best_value: float = float("nan")
    train_seconds: float = 0.0
    valid_seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)


def fit(
    model: Recommender,
    view: GraphView,
    validate: Callable[[Recommender, GraphView], Scores],
    *,
    monitor: str = "recall@20",
    augment: Augmentation | None = None,
    augment_step: Augmentation | None = None,
    auxiliary: Sequence[Auxiliary] = (),
    seed: int = 0,
    logs: tuple[Log, ...] = (),
    epochs: int = 1000,
    batch_size: int = 2048,
    lr: float = 1e-3,
    lr_decay: float = 1.0,
    lr_decay_epochs: int = 50,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    mirror_every: int = 0,
    mirror_up: float = 0.2,
    patience: int = 20,
    eval_every: int = 1,
    device: Device = "auto",
    precision: Precision = "32-true",
) -> History:
    """Train with Adam, stop early on the valid split, and leave the best weights in the model.

    Nothing here can see the test split. A model without parameters is left as it is.

    Args:
        model: the model; it is moved to the device and stays there.
        view: the clean training view.
        validate: scores of the valid split for a model and the view on its device.
        monitor: the valid metric that stopping and the choice of weights look at.
        augment: applied to the clean view at the start of each epoch.
        augment_step: applied to the epoch's view at each step.
        auxiliary: losses beside the model's own; their parameters are trained along.
        seed: start of the streams `sampling`, `augment` and `plug-ins`.
        logs: get one row per epoch.
        epochs: at most this many.
        batch_size: pairs per step.
        lr: learning rate of Adam.
        lr_decay: the rate is lr * lr_decay ^ (epoch / lr_decay_epochs); 1 keeps it constant.
        lr_decay_epochs: see lr_decay.
        weight_decay: Adam's.
        decoupled: take weight decay off the weights instead of adding it to the gradient (AdamW).
        mirror_every: Mirror Gradient (Zhong et al. 2024), towards flat minima: every so many steps, after the
            step, the batch's loss is taken anew and Adam makes one more step with its gradient times
            -`mirror_up`, as MMRec's code does. The paper's step goes up; Adam's averages still hold the steps
            down, so that this one mostly goes on down, by less. 0 never does, the paper's is 3.
        mirror_up: see mirror_every, the paper's alpha_2 over alpha_1.
        patience: evaluations without a new best that are put up with; training stops at the one after.
        eval_every: epochs between evaluations.
        device: `auto` takes CUDA if there is a GPU for it, else the CPU; Apple's MPS lacks the float64 that
            losses, samplers and metrics need.
        precision: `32-true`, or mixed precision by Lightning Fabric; sparse products and contrasts stay in
            float32.

    Raises:
        ConfigError: for an option out of its range, a device that this machine lacks, or views to contrast
            that are the same for this model (see `probe`, which warns of augmentations without an effect).
        GraphError: if an augmentation changes the view it is given in place, or returns none.
        TrainingError: as soon as an epoch had a loss that is not finite, naming epoch, step and each loss.
    """
    _check_at_least(1, epochs=epochs, batch_size=batch_size, eval_every=eval_every)
    _check_at_least(1, lr_decay_epochs=lr_decay_epochs)
    _check_at_least(0, lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, patience=patience)
    _check_at_least(0, mirror_every=mirror_every, mirror_up=mirror_up)
    where = runtime(device, precision)
    view = view.to(where.device)
    trained = [part.to(where.device) for part in (model, *auxiliary)]
    parameters = [weight for part in trained for weight in part.parameters() if weight.requires_grad]
    if not any(weight.requires_grad for weight in model.parameters()):
        if augment or augment_step or auxiliary:
            unused = "augmentations and auxiliary losses have no part in it"
            logger.warning("%s has no parameters and is not trained: %s", type(model).__name__, unused)
        return History()
    optimizer = where.adam(parameters, lr=lr, weight_decay=weight_decay, decoupled=decoupled)
    kind = UserSampler if model.batches == "users" else PairSampler
    sampler = kind(view, batch_size, negatives=model.n_negatives)
    sampling, augmenting = stream(seed, "sampling", where.device), stream(seed, "augment")
    stopping, history, best = EarlyStopping(patience), History(), _copy(model)
    probe(model, view, sampler, augment, augment_step, auxiliary, epochs=epochs, seed=seed)
    for one in auxiliary:
        one.start(view)

    def descend(batch: Batch, seen: GraphView, factor: float = 1.0) -> dict[str, Tensor]:
        with where.autocast():
            out = model.embed_in_training(seen, batch.rng)
            losses = model.losses(out, batch, seen)
            for one in auxiliary:
                for name, value in one.losses(model, seen, out, batch, augmenting).items():
                    losses[free_name(name, losses)] = value
            loss = torch.stack(list(losses.values())).sum() * factor
        where.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        return {name: value.detach() for name, value in losses.items()}

    with bar(remaining=False) as progress, seeded(seed, "plug-ins"):
        task = progress.add_task(type(model).__name__, total=epochs, note="")
        for epoch in range(1, epochs + 1):
            started = time.perf_counter()
            seen = draw(augment.at(epoch), view, augmenting) if augment else view
            at_step = augment_step.at(epoch) if augment_step else None
            model.train()
            model.start_epoch(epoch)
            for one in auxiliary:
                one.start_epoch(epoch, seen, augmenting)
            steps = []
            for step, batch in enumerate(sampler.epoch(sampling)):
                shown = draw(at_step, seen, augmenting) if at_step else seen
                steps.append(descend(batch, shown))
                if mirror_every and step % mirror_every == 0:
                    descend(batch, shown, -mirror_up)
            where.set_lr(optimizer, lr * lr_decay ** (epoch / lr_decay_epochs))
            row = {"epoch": float(epoch), **_mean_losses(steps, epoch)}
            history.epochs = epoch
            history.train_seconds += (seconds := time.perf_counter() - started)
            row["train_seconds"] = seconds
            if epoch % eval_every == 0 or epoch == epochs:
                started = time.perf_counter()
                value = row[f"valid_{monitor}"] = validate(model, view).metrics[monitor]
                history.valid_seconds += time.perf_counter() - started
                if stopping.update(value, epoch):
                    best = _copy(model)
                note = f"loss {row['loss']:.4f} valid {value:.4f} best {stopping.best:.4f}"
                progress.update(task, note=note)
            for log in logs:
                log.log_metrics(row, step=epoch)
            history.rows.append(row)
            progress.advance(task)
            if stopping.done:
                progress.update(task, total=epoch)
                break
    model.load_state_dict(best)
    history.best_epoch, history.best_value = stopping.best_epoch, stopping.best
    return history


def free_name(name: str, taken: Container[str]) -> str:
    """The name, or where it is taken `name-2` and so on: two losses, or models, are never taken for one."""
    return next(free for n in count(1) if (free := f"{name}-{n}" if n > 1 else name) not in taken)


def _check_at_least(low: int, **options: float) -> None:
    for name, value in options.items():
        if not low <= value < float("inf"):
            raise ConfigError(f"train.{name} is {value}, expected a finite number of at least {low}")


def _copy(model: Recommender) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _mean_losses(steps: list[dict[str, Tensor]], epoch: int) -> dict[str, float]:
    # Read once per epoch: reading every step would make a GPU wait for each.
    table = torch.stack([torch.stack([value.double() for value in step.values()]) for step in steps]).cpu()
    names = list(steps[0])
    bad = ~torch.isfinite(table).all(dim=1)
    if bad.any():
        step = int(bad.nonzero()[0])
        values = ", ".join(f"{name} {float(value):g}" for name, value in zip(names, table[step], strict=True))
        raise TrainingError(
            f"loss is not finite in epoch {epoch}, step {step + 1} of {len(steps)} ({values}); lower "
            "train.lr or look at the features' scale"
        )
    means = {f"loss_{name}": float(value) for name, value in zip(names, table.mean(dim=0), strict=True)}
    return {"loss": float(table.sum(dim=1).mean()), **means}
