"""Another graph for each layer."""

from __future__ import annotations

import torch

from mmrec.augment.base import Augmentation, check_rate
from mmrec.augment.edge_drop import EdgeDrop
from mmrec.errors import GraphError
from mmrec.graph.view import GraphView


class RandomWalk(Augmentation):
    """Edge dropout drawn for each layer on its own (SGL's random walk, Wu et al. 2021, eq. 6).

    Messages so follow paths that differ from layer to layer. Losses that look at the clicks see all of them.
    """

    def __init__(self, drop: float = 0.1, n_layers: int = 3) -> None:
        """Set the rate.

        Args:
            drop: share of clicks to drop in each layer, in [0, 1).
            n_layers: graphs to draw; a model with more layers starts again with the first.

        Raises:
            GraphError: if n_layers is not at least 1.
        """
        self.drop, self.n_layers = check_rate("RandomWalk.drop", drop), n_layers
        if n_layers < 1:
            raise GraphError(f"RandomWalk.n_layers is {n_layers}, expected at least 1")

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view with a graph for each layer."""
        if self.drop == 0:
            return view
        drop, plain = EdgeDrop(self.drop), view.changed(inside=(), layers=(), low_rank=None)
        return view.changed(layers=tuple(drop(plain, rng) for _ in range(self.n_layers)))
