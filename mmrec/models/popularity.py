"""Popularity: the same list for everybody."""

from __future__ import annotations

import torch

from mmrec.graph.view import GraphView
from mmrec.models.base import Embeddings, Recommender


class Popularity(Recommender):
    """Rank items by their training clicks, untrained: the floor that every other model has to beat."""

    def __init__(self, view: GraphView) -> None:
        """Remember the sizes; there are no options."""
        super().__init__(view)

    def embed(self, view: GraphView) -> Embeddings:
        """One-dimensional vectors: 1 for a user, the number of clicks for an item."""
        clicks = torch.bincount(view.edge_index[1], minlength=self.num_items).float()
        return Embeddings(torch.ones(self.num_users, 1, device=clicks.device), clicks[:, None])
