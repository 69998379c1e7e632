"""EASE: the linear item-item model in closed form."""

from __future__ import annotations

import torch

from mmrec.errors import ConfigError
from mmrec.graph.view import GraphView
from mmrec.models.histories import FromHistories, Rule


class EASE(FromHistories):
    """EASE^R (Steck 2019): scores r B, where B minimises |R - R B|^2 + reg |B|^2 with a zero diagonal.

    With P = (R'R + reg I)^-1, B_ij = -P_ij / P_jj (eq. 8). B is a full items x items matrix, which is what
    the model is; catalogues it would not fit for are refused. Nothing is trained.
    """

    def __init__(self, view: GraphView, *, reg: float = 250.0, max_items: int = 30_000) -> None:
        """Set the options.

        Args:
            view: the training view.
            reg: strength of L2; good values grow with the number of clicks per item.
            max_items: refuse larger catalogues: 30,000 items are two matrices of 3.6 GB.

        Raises:
            ConfigError: for a reg that is not above 0, or too many items.
        """
        super().__init__(view)
        if not reg > 0:
            raise ConfigError(f"EASE.reg is {reg}, expected above 0")
        if view.num_items > max_items:
            found = f"{view.num_items:,} items and EASE.max_items is {max_items:,}"
            needed = f"{8 * view.num_items**2 / 1e9:.0f} GB"
            raise ConfigError(f"the data have {found}; it needs {needed}: raise it, or take ItemKNN or GFCF")
        self.reg = reg

    def rule(self, view: GraphView) -> Rule:
        """Product with B."""
        clicks = torch.zeros(self.num_items, self.num_items, device=view.edge_index.device)
        pairs = torch.unique(view.edge_index, dim=1)
        # R'R, users by block: R itself is never whole.
        for block in torch.split(torch.arange(self.num_users, device=clicks.device), 4096):
            rows = torch.zeros(len(block), self.num_items, device=clicks.device)
            inside = (pairs[0] >= block[0]) & (pairs[0] <= block[-1])
            rows[pairs[0, inside] - block[0], pairs[1, inside]] = 1
            clicks.addmm_(rows.T, rows)
        clicks.diagonal().add_(self.reg)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(clicks))
        weight = inverse.div_(-inverse.diagonal().clone())
        weight.fill_diagonal_(0)
        return lambda history: history @ weight
