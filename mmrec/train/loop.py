"""The training loop, top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from mmrec.augment.base import Augmentation
from mmrec.errors import ConfigError, TrainingError
from mmrec.evaluate.evaluator import Scores
from mmrec.graph.view import GraphView
from mmrec.models.base import Recommender
from mmrec.report.progress import bar
from mmrec.train.device import Device, Precision, runtime
from mmrec.train.sampler import PairSampler
from mmrec.train.stopping import EarlyStopping
from mmrec.train.streams import seeded, stream


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
    seed: int = 0,
    logs: tuple[Log, ...] = (),
    epochs: int = 1000,
    batch_size: int = 2048,
    lr: float = 1e-3,
    lr_decay: float = 1.0,
    lr_decay_epochs: int = 50,
    weight_decay: float = 0.0,
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
        seed: start of the streams `sampling`, `augment` and `plug-ins`.
        logs: get one row per epoch.
        epochs: at most this many.
        batch_size: pairs per step.
        lr: learning rate of Adam.
        lr_decay: the rate is lr * lr_decay ^ (epoch / lr_decay_epochs); 1 keeps it constant.
        lr_decay_epochs: see lr_decay.
        weight_decay: Adam's.
        patience: evaluations without a new best that are put up with; training stops at the one after.
        eval_every: epochs between evaluations.
        device: `auto` takes a GPU if there is one.
        precision: `32-true`, or mixed precision by Lightning Fabric.

    Raises:
        ConfigError: for an option out of its range, or a device that this machine lacks.
        TrainingError: as soon as an epoch had a loss that is not finite, naming epoch, step and each loss.
    """
    _check_at_least(1, epochs=epochs, batch_size=batch_size, eval_every=eval_every)
    _check_at_least(1, lr_decay_epochs=lr_decay_epochs)
    _check_at_least(0, lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, patience=patience)
    where = runtime(device, precision)
    model.to(where.device)
    view = view.to(where.device)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        return History()
    optimizer = where.adam(parameters, lr=lr, weight_decay=weight_decay)
    sampler = PairSampler(view, batch_size)
    sampling, augmenting = stream(seed, "sampling", where.device), stream(seed, "augment")
    stopping, history, best = EarlyStopping(patience), History(), _copy(model)

    with bar(remaining=False) as progress, seeded(seed, "plug-ins"):
        task = progress.add_task(type(model).__name__, total=epochs, note="")
        for epoch in range(1, epochs + 1):
            started = time.perf_counter()
            seen = augment(view, augmenting) if augment else view
            model.train()
            steps = []
            for batch in sampler.epoch(sampling):
                with where.autocast():
                    losses = model.losses(model.embed(seen), batch, seen)
                    loss = torch.stack(list(losses.values())).sum()
                where.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                steps.append({name: value.detach() for name, value in losses.items()})
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
