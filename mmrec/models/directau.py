"""DirectAU: alignment and uniformity instead of negatives."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mmrec.graph.view import GraphView
from mmrec.losses.regularisers import L2
from mmrec.losses.uniformity import align_uniform
from mmrec.models.base import Batch, Embeddings
from mmrec.models.lightgcn import LightGCN


class DirectAU(LightGCN):
    """DirectAU (Wang et al. 2022, eq. 8-10): |u - i|^2 of clicked pairs, plus gamma times mean uniformity.

    Everything is on the unit sphere in training; scores are dot products. There are no negatives.
    """

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        n_layers: int = 2,
        gamma: float = 1.0,
        reg: float = 0.0,
        l2: L2 = "squared",
        init: Literal["normal", "xavier"] = "xavier",
    ) -> None:
        """Make one table of users and items.

        Args:
            view: the training view.
            dim: width D of the embeddings.
            n_layers: propagation layers; 0 is matrix factorisation.
            gamma: weight of uniformity; the paper's grid is 0.2 to 10.
            reg: strength of an L2 penalty; the paper uses weight decay.
            l2: kind of that penalty.
            init: `xavier` is xavier-uniform, of the same variance as the authors' xavier-normal; `normal` is
                N(0, 0.1^2).
        """
        super().__init__(view, dim=dim, n_layers=n_layers, reg=reg, l2=l2, init=init)
        self.gamma = gamma

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`align_uniform`, and `l2` if asked for."""
        rows = out.rows(batch)
        loss = align_uniform(rows.users, rows.items, self.gamma, nodes=(batch.users, batch.items))
        return {"align_uniform": loss, **self.penalty(rows, batch)}
