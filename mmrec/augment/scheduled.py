"""A strength that changes over the epochs."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch

from mmrec.augment.base import Augmentation
from mmrec.errors import GraphError, nearest
from mmrec.graph.view import GraphView


class Scheduled(Augmentation):
    """An augmentation whose strength goes in a straight line from `start` to `end` over some epochs.

    From weak to strong it is a curriculum; the other way lets training settle on the clean graph. A strength
    that is a whole number, such as `RandomWalk.n_layers`, is rounded.
    """

    def __init__(
        self,
        augmentation: Augmentation,
        start: float = 0.0,
        end: float = 0.5,
        epochs: int = 50,
        option: str = "drop",
    ) -> None:
        """Keep the plan.

        Args:
            augmentation: the one to schedule.
            start: strength in epoch 1.
            end: strength from epoch `epochs` on.
            epochs: length of the way.
            option: which of the augmentation's options is its strength.

        Raises:
            GraphError: for an option that it lacks or that is no number, a strength it refuses, or fewer than
                1 epochs.
        """
        kind, parameters = type(augmentation), inspect.signature(type(augmentation)).parameters
        if option not in parameters:
            found = f"{kind.__name__} has no option '{option}'{nearest(option, parameters)}"
            raise GraphError(f"Scheduled: {found}")
        kept = {name: value for name, value in vars(augmentation).items() if name in parameters}
        if type(kept.get(option)) not in (int, float):
            found = f"{kept[option]!r}" if option in kept else "not kept under its name"
            raise GraphError(f"Scheduled: {kind.__name__}.{option} is {found}, expected a number to schedule")
        if epochs < 1:
            raise GraphError(f"Scheduled.epochs is {epochs}, expected at least 1")
        if not (math.isfinite(start) and math.isfinite(end)):
            raise GraphError(f"Scheduled goes from {start} to {end}, expected finite numbers")
        self.augmentation, self.start, self.end = augmentation, start, end
        self.epochs, self.option = epochs, option
        # The constructor's own arguments alone: what else an instance keeps is none of its options.
        self._kept, self._whole = kept, parameters[option].annotation in (int, "int")
        for strength in (start, end):  # refused by its own constructor, now and not in epoch 30
            self._made(strength)

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """As in epoch 1."""
        return self.at(1)(view, rng)

    def pair_of(
        self, first: GraphView, second: GraphView, rng: torch.Generator
    ) -> tuple[GraphView, GraphView]:
        """As in epoch 1."""
        return self.at(1).pair_of(first, second, rng)

    def at(self, epoch: int) -> Augmentation:
        """The augmentation with the strength of an epoch."""
        share = 1.0 if self.epochs == 1 else min((epoch - 1) / (self.epochs - 1), 1.0)
        return self._made(self.start + share * (self.end - self.start)).at(epoch)

    def _made(self, strength: float) -> Augmentation:
        options: dict[str, Any] = {**self._kept, self.option: round(strength) if self._whole else strength}
        kind = type(self.augmentation)
        try:
            return kind(**options)
        except (AttributeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise GraphError(
                f"Scheduled: {kind.__name__} cannot be made with {self.option} {strength} ({reason}); each "
                "argument has to be kept under its name"
            ) from error
