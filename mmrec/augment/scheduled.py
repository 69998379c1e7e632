"""A strength that changes over the epochs."""

from __future__ import annotations

import copy

import torch

from mmrec.augment.base import Augmentation
from mmrec.errors import GraphError, nearest
from mmrec.graph.view import GraphView


class Scheduled(Augmentation):
    """An augmentation whose strength goes in a straight line from `start` to `end` over some epochs.

    From weak to strong it is a curriculum; the other way lets training settle on the clean graph.
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
            GraphError: for an option that it lacks, a strength it refuses, or fewer than 1 epochs.
        """
        if option not in vars(augmentation):
            kind = type(augmentation).__name__
            raise GraphError(
                f"Scheduled: {kind} has no option '{option}'{nearest(option, vars(augmentation))}"
            )
        if epochs < 1:
            raise GraphError(f"Scheduled.epochs is {epochs}, expected at least 1")
        for strength in (start, end):  # refused by its own constructor, now and not in epoch 30
            type(augmentation)(**{**vars(augmentation), option: strength})
        self.augmentation, self.start, self.end = augmentation, start, end
        self.epochs, self.option = epochs, option

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """As in epoch 1."""
        return self.at(1)(view, rng)

    def at(self, epoch: int) -> Augmentation:
        """The augmentation with the strength of an epoch."""
        share = 1.0 if self.epochs == 1 else min((epoch - 1) / (self.epochs - 1), 1.0)
        made = copy.copy(self.augmentation)
        setattr(made, self.option, self.start + share * (self.end - self.start))
        return made
