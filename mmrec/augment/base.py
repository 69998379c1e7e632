"""What a graph augmentation is, and how several become one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from mmrec.errors import GraphError
from mmrec.graph.view import GraphView


class Augmentation(ABC):
    """A change of the graph that training sees; evaluation always sees the clean one.

    Pure: the view that comes in is untouched, a new one goes out, and chance comes from `rng` alone, so the
    same generator state gives the same result. Strength zero gives the view back as it is.
    """

    @abstractmethod
    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """The augmented view.

        Args:
            view: the clean view, on any device.
            rng: source of chance, on the CPU, so that one seed gives one result on every device.
        """

    def pair(self, view: GraphView, rng: torch.Generator) -> tuple[GraphView, GraphView]:
        """Two augmented views to be contrasted."""
        return self.pair_of(view, view, rng)

    def pair_of(
        self, first: GraphView, second: GraphView, rng: torch.Generator
    ) -> tuple[GraphView, GraphView]:
        """The two views that become of two: a draw for each, unless the augmentation says otherwise.

        Override it where what happens to one view depends on what happens to the other.
        """
        return self(first, rng), self(second, rng)

    def at(self, epoch: int) -> Augmentation:
        """What stands in for this in an epoch, from 1: itself, unless its strength is scheduled."""
        return self


class Compose(Augmentation):
    """Several augmentations, one after the other."""

    def __init__(self, steps: list[Augmentation]) -> None:
        """Keep the steps.

        Args:
            steps: applied from first to last.
        """
        self.steps = tuple(steps)

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """Apply all steps in order."""
        for step in self.steps:
            view = step(view, rng)
        return view

    def pair_of(
        self, first: GraphView, second: GraphView, rng: torch.Generator
    ) -> tuple[GraphView, GraphView]:
        """Two views; each step goes on from the pair that the step before it made."""
        for step in self.steps:
            first, second = step.pair_of(first, second, rng)
        return first, second

    def at(self, epoch: int) -> Augmentation:
        """Its steps of that epoch."""
        return Compose([step.at(epoch) for step in self.steps])


def check_rate(name: str, value: float) -> float:
    """`value` if it is a share in [0, 1), else a one-line error.

    Raises:
        GraphError: naming the option.
    """
    if not 0 <= value < 1:
        raise GraphError(f"{name} is {value}, expected at least 0 and below 1")
    return value
