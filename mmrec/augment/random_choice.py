"""One of several augmentations, by chance."""

from __future__ import annotations

import math

import torch

from mmrec.augment.base import Augmentation
from mmrec.errors import GraphError
from mmrec.graph.view import GraphView


class RandomChoice(Augmentation):
    """One of the steps, drawn at each call (as JOAO draws pairs of augmentations, You et al. 2021)."""

    def __init__(self, steps: list[Augmentation], weights: list[float] | None = None) -> None:
        """Keep the steps.

        Args:
            steps: one of them is applied.
            weights: how likely each is, in proportion; equal by default.

        Raises:
            GraphError: for no steps, or weights that do not fit them.
        """
        weights = [1.0] * len(steps) if weights is None else weights
        drawn = torch.tensor(weights, dtype=torch.float32)  # what is drawn with: 1e39 is infinite there
        if len(steps) != len(weights) or not ((drawn >= 0).all() and 0 < float(drawn.sum()) < math.inf):
            found = f"{len(steps)} steps and weights {weights}"
            expected = "a finite weight of at least 0 for each of them, not all 0"
            raise GraphError(f"RandomChoice has {found}, expected {expected}")
        self.steps, self.weights = tuple(steps), weights

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """Apply one."""
        return self._draw(rng)(view, rng)

    def pair_of(
        self, first: GraphView, second: GraphView, rng: torch.Generator
    ) -> tuple[GraphView, GraphView]:
        """Both views by one step, drawn for the pair."""
        return self._draw(rng).pair_of(first, second, rng)

    def at(self, epoch: int) -> Augmentation:
        """Its steps of that epoch."""
        return RandomChoice([step.at(epoch) for step in self.steps], self.weights)

    def _draw(self, rng: torch.Generator) -> Augmentation:
        return self.steps[int(torch.multinomial(torch.tensor(self.weights), 1, generator=rng))]
