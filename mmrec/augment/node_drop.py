"""Dropping users and items at random, with all their clicks."""

from __future__ import annotations

import torch

from mmrec.augment.base import Augmentation, check_rate
from mmrec.graph.view import GraphView


class NodeDrop(Augmentation):
    """Drop each user and each item with probability `drop`, on its own (SGL, Wu et al. 2021, eq. 4).

    A dropped node loses its clicks, not its place: a click stays with probability (1 - drop)^2.
    """

    def __init__(self, drop: float = 0.1) -> None:
        """Set the rate.

        Args:
            drop: share of nodes to drop, in [0, 1).
        """
        self.drop = check_rate("NodeDrop.drop", drop)

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view with the clicks between kept nodes, in their order."""
        if self.drop == 0:
            return view
        users = torch.rand(view.num_users, generator=rng) >= self.drop
        items = torch.rand(view.num_items, generator=rng) >= self.drop
        device = view.edge_index.device
        user, item = view.edge_index
        return view.with_edges(users.to(device)[user] & items.to(device)[item])
