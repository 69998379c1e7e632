"""Before training: does what was asked for change anything that the model looks at?"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mmrec.augment.base import Augmentation
from mmrec.augment.changes import changed_groups
from mmrec.augment.drawing import draw, draw_pair, parts_of
from mmrec.auxiliary.base import Auxiliary
from mmrec.auxiliary.view_contrast import ViewContrast
from mmrec.errors import ConfigError
from mmrec.graph.view import GraphView
from mmrec.models.base import Batch, Recommender
from mmrec.train.sampler import PairSampler
from mmrec.train.streams import seeded, stream

_DRAWS = 9  # until one makes a difference: the first usually does
_NOISE = 1e-5  # between equal steps on a GPU, whose sums have no fixed order

Look = Callable[[GraphView], list[Tensor]]
log = logging.getLogger("mmrec")


def probe(
    model: Recommender,
    view: GraphView,
    sampler: PairSampler,
    augment: Augmentation | None,
    augment_step: Augmentation | None,
    auxiliary: Sequence[Auxiliary],
    *,
    epochs: int,
    seed: int,
) -> None:
    """Warn of augmentations that make no difference to a step, and refuse to contrast a view with itself.

    One batch with and without each augmentation, all chance being equal, on copies and from streams of its
    own: training is the same with or without it. It takes about two steps; more only where no draw makes a
    difference. What cannot be copied is not tried.

    Args:
        model: as it is before training.
        view: the clean view.
        sampler: gives the batch.
        augment: of each epoch.
        augment_step: of each step.
        auxiliary: those of them that contrast views are tried.
        epochs: schedules are tried at the first, the last and the middle one.
        seed: of the streams.

    Raises:
        ConfigError: if the views that are to be contrasted are the same for this model.
    """
    contrasts = [one for one in auxiliary if isinstance(one, ViewContrast)]
    if not (augment or augment_step or contrasts):
        return
    trial = _Trial(model, view, sampler, epochs, seed)
    try:
        trial.fresh()
        plans = copy.deepcopy({"augment.epoch": augment, "augment.step": augment_step})
        of_views = copy.deepcopy([(one.augmentation, one.against == "clean") for one in contrasts])
    except (TypeError, RuntimeError, NotImplementedError) as error:
        log.info("augmentations are not tried before training, as not all can be copied: %s", error)
        return
    with seeded(seed, "probe"):
        for where, augmentation in plans.items():
            if augmentation is not None:
                trial.warn(where, augmentation, trial.gradients)
        for augmentation, against_clean in of_views:
            trial.check_views(augmentation, against_clean=against_clean)


class _Trial:
    """A model before training, of which every look takes a fresh copy, and one batch."""

    def __init__(
        self, model: Recommender, view: GraphView, sampler: PairSampler, epochs: int, seed: int
    ) -> None:
        self.model, self.view, self.seed = model, view, seed
        self.device = view.edge_index.device
        self.name = type(model).__name__
        self.epochs = [epochs, 1, (epochs + 1) // 2]
        self.sampled = sampler.sample(stream(seed, "probe", self.device))

    def fresh(self) -> tuple[Recommender, Batch]:
        """A copy as it is at the start of an epoch, and the batch with its chance anew."""
        made = copy.deepcopy(self.model)
        for name, value in list(vars(made).items()):
            if inspect.isroutine(value) and hasattr(type(made), name):  # would reach the model that is copied
                del made.__dict__[name]
        made.train()
        made.start_epoch(1)
        return made, replace(self.sampled, rng=stream(self.seed, "probe step", self.device))

    def gradients(self, seen: GraphView) -> list[Tensor]:
        """What a step on a view would do to the parameters."""
        model, batch = self.fresh()
        with seeded(self.seed, "probe"):
            out = model.embed_in_training(seen, batch.rng)
            loss = torch.stack(list(model.losses(out, batch, seen).values())).sum()
            weights = [weight for weight in model.parameters() if weight.requires_grad]
            found = torch.autograd.grad(loss, weights, allow_unused=True)
        return [torch.zeros(()) if gradient is None else gradient for gradient in found]

    def rows(self, seen: GraphView) -> list[Tensor]:
        """What a contrast would compare; after the step's own pass, as models may keep what that made."""
        model, batch = self.fresh()
        with seeded(self.seed, "probe"), torch.no_grad():
            model.embed_in_training(self.view, stream(self.seed, "probe pass", self.device))
            out = model.embed_in_training(seen, batch.rng)
            return list(out.of(torch.unique(batch.users), torch.unique(batch.items)))

    def warn(self, where: str, augmentation: Augmentation, look: Look) -> None:
        """Warn of each part without which every draw gives the same."""
        for number in self._idle(augmentation, look):
            log.warning("%s: %s", where, self._why(augmentation, number, where))

    def check_views(self, augmentation: Augmentation, *, against_clean: bool) -> None:
        """Refuse views that are all the same; warn of parts of the augmentation that do nothing to them."""
        for number in range(_DRAWS):
            at, rng = augmentation.at(self._epoch(number)), stream(self.seed, f"probe {number}")
            made = (draw(at, self.view, rng), self.view) if against_clean else draw_pair(at, self.view, rng)
            if not self._alike(self.rows, *made):
                break
        else:
            names = ", ".join(type(part).__name__ for part in parts_of(at))
            if not self._alike(self.rows, made[0], self.view):
                advice = "set augment.against to clean, or add one that draws"
                raise ConfigError(f"augment.views are two of the same, as {names} draws nothing; {advice}")
            whys = [self._why(augmentation, place, "augment.views") for place in range(len(parts_of(at)))]
            raise ConfigError(f"augment.views are contrasted with themselves: {'; '.join(whys)}")
        if len(parts_of(augmentation)) > 1:
            self.warn("augment.views", augmentation, self.rows)

    def _idle(self, augmentation: Augmentation, look: Look) -> list[int]:
        idle = list(range(len(parts_of(augmentation.at(self.epochs[0])))))
        for number in range(_DRAWS):
            parts = parts_of(augmentation.at(self._epoch(number)))
            whole = self._drawn(parts, number)
            idle = [one for one in idle if self._alike(look, whole, self._drawn(parts, number, without=one))]
            if not idle:
                break
        return idle

    def _drawn(self, parts: list[Augmentation], number: int, without: int | None = None) -> GraphView:
        """A draw whose other parts find the chance that they have with all."""
        view = self.view
        for place, part in enumerate(parts):
            if place != without:
                view = draw(part, view, stream(self.seed, f"probe {number} {place}"))
        return view

    def _alike(self, look: Look, first: GraphView, second: GraphView) -> bool:
        if first is second:
            return True
        noise = 0.0 if self.device.type == "cpu" else _NOISE
        return all(_close(one, other, noise) for one, other in zip(look(first), look(second), strict=True))

    def _why(self, augmentation: Augmentation, place: int, where: str) -> str:
        changed: dict[str, None] = {}
        for number in range(_DRAWS):
            part = parts_of(augmentation.at(self._epoch(number)))[place]
            drawn = draw(part, self.view, stream(self.seed, f"probe {number} {place}"))
            changed |= dict.fromkeys(changed_groups(self.view, drawn))
        found = f"{type(part).__name__} has no effect on {self.name}"
        if not changed:
            return f"{found}: nothing changed in {_DRAWS} draws; raise its strength or take it out of {where}"
        what = f"it changes {' and '.join(changed)}, which {self.name} does not look at as it is set"
        return f"{found}: {what}; take it out of {where} or choose another model"

    def _epoch(self, number: int) -> int:
        return self.epochs[number % len(self.epochs)]


def _close(one: Tensor, other: Tensor, noise: float) -> bool:
    if not noise or not one.numel():
        return torch.equal(one, other)
    return one.shape == other.shape and bool((one - other).abs().max() <= noise * one.abs().max())
