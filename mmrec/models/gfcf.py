"""GF-CF: graph filters in closed form."""

from __future__ import annotations

import torch

from mmrec.augment.svd_view import low_rank_clicks
from mmrec.errors import ConfigError
from mmrec.graph.matrices import normalised_weights
from mmrec.graph.ops import sparse_matrix
from mmrec.graph.view import GraphView
from mmrec.models.histories import FromHistories, Rule


class GFCF(FromHistories):
    """GF-CF (Shen et al. 2021): r R~'R~ + alpha r D^-1/2 V V' D^1/2, R~ the normalised clicks.

    The first filter is linear; the second lets through only the `rank` smoothest signals, V being R~'s
    strongest right singular vectors and D the items' degrees (eq. 12). Nothing is trained.
    """

    def __init__(self, view: GraphView, *, rank: int = 256, alpha: float = 0.3) -> None:
        """Set the options.

        Args:
            view: the training view.
            rank: singular vectors of the ideal low-pass filter.
            alpha: its weight.

        Raises:
            ConfigError: if rank is not at least 1.
        """
        super().__init__(view)
        if rank < 1:
            raise ConfigError(f"GFCF.rank is {rank}, expected at least 1")
        self.rank, self.alpha = rank, alpha

    def rule(self, view: GraphView) -> Rule:
        """Both filters."""
        # Histories are of ones, so the filters are too: a pair that was clicked twice is one.
        view = view.changed(edge_index=torch.unique(view.edge_index, dim=1), edge_weight=None)
        users, items = view.edge_index
        shape = (self.num_users, self.num_items)
        clicks = sparse_matrix(users, items, normalised_weights(view), shape, backend=view.backend)
        _, strongest = low_rank_clicks(view, min(self.rank, *shape))
        root = torch.bincount(items, minlength=self.num_items).float().sqrt()
        inverse = torch.where(root > 0, 1 / root, 0.0)

        def scores(history: torch.Tensor) -> torch.Tensor:
            linear = clicks.multiply_transposed(clicks.multiply(history.T.contiguous())).T
            smooth = ((history * inverse) @ strongest) @ strongest.T * root
            return linear + self.alpha * smooth

        return scores
