"""Dropping clicks at random."""

from __future__ import annotations

import torch

from mmrec.augment.base import Augmentation, check_rate
from mmrec.graph.view import GraphView


class EdgeDrop(Augmentation):
    """Keep each click with probability 1 - drop, on its own (SGL's edge dropout, Wu et al. 2021, eq. 5)."""

    def __init__(self, drop: float = 0.1) -> None:
        """Set the rate.

        Args:
            drop: share of clicks to drop, in [0, 1).
        """
        self.drop = check_rate("EdgeDrop.drop", drop)

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view with the kept clicks, in their order."""
        if self.drop == 0:
            return view
        keep = torch.rand(view.edge_index.shape[1], generator=rng) >= self.drop
        return view.with_edges(keep.to(view.edge_index.device))
