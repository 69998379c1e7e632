"""Dropping clicks between popular nodes first."""

from __future__ import annotations

import torch

from mmrec.augment.base import Augmentation, check_rate
from mmrec.graph.view import GraphView


class DegreeDrop(Augmentation):
    """Degree-sensitive edge pruning (FREEDOM, Zhou and Shen 2023, section 3.2).

    Exactly K = floor((1 - drop) E) clicks are kept, drawn without replacement with probability proportional
    to 1 / sqrt(d_u d_i): clicks between popular nodes, likelier to be noise, go first. The draw is a Gumbel
    top-K on the log-weights, which is that very distribution and runs on any number of clicks.
    """

    def __init__(self, drop: float = 0.8) -> None:
        """Set the rate.

        Args:
            drop: share of clicks to drop, in [0, 1); FREEDOM's grid is 0.8 and 0.9.
        """
        self.drop = check_rate("DegreeDrop.drop", drop)

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view with the kept clicks, in their order."""
        if self.drop == 0:
            return view
        users, items = view.edge_index.cpu()
        degree_u, degree_i = torch.bincount(users).double(), torch.bincount(items).double()
        log_weight = -0.5 * (degree_u[users].log() + degree_i[items].log())
        gumbel = -torch.empty_like(log_weight).exponential_(generator=rng).log()
        count = int((1 - self.drop) * len(users) + 1e-9)  # 1 - 0.8 is a little below 0.2 in floating point
        kept = torch.topk(log_weight + gumbel, count, sorted=False).indices
        mask = torch.zeros(len(users), dtype=torch.bool)
        mask[kept] = True
        return view.with_edges(mask.to(view.edge_index.device))
