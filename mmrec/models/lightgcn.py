"""LightGCN: linear propagation over the user-item graph."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mmrec.graph.ops import smooth, user_item_matrix
from mmrec.graph.view import GraphView
from mmrec.losses.regularisers import L2, l2
from mmrec.models.base import Batch, Embeddings, Recommender, embedding_table


class LightGCN(Recommender):
    """LightGCN (He et al. 2020): E = mean of A^l E0 over layers l = 0..L; BPR plus L2 on E0 (eq. 15).

    Scores are dot products. A is the symmetrically normalised bipartite graph; there are no weights and no
    non-linearities. With no layers it is BPR-MF.
    """

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        n_layers: int = 3,
        reg: float = 1e-4,
        l2: L2 = "squared",
        init: Literal["normal", "xavier"] = "normal",
    ) -> None:
        """Make one table of users and items.

        Args:
            view: the training view.
            dim: width D of the embeddings.
            n_layers: L, number of propagation layers.
            reg: strength of the L2 penalty on the batch's rows of E0; 0 leaves it out.
            l2: `squared` as in the paper; `unsquared` as in the MMRec toolbox, whose settings have reg 1e-3.
            init: `normal` is N(0, 0.1^2) (the authors' code); `xavier` is xavier-uniform (MMRec).
        """
        super().__init__(view)
        self.n_layers, self.reg, self.l2 = n_layers, reg, l2
        self.table = embedding_table((view.num_users, view.num_items), dim, init)

    def embed(self, view: GraphView) -> Embeddings:
        """Mean of the layers."""
        out = smooth(user_item_matrix(view), self.table, n_layers=self.n_layers)
        return Embeddings(out[: self.num_users], out[self.num_users :])

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`bpr` on the propagated rows, `l2` on the rows of layer 0."""
        losses = super().losses(out, batch, view)
        if self.reg:
            nodes = (batch.users, batch.items + self.num_users, batch.negatives + self.num_users)
            losses["l2"] = self.reg * l2([self.table[index] for index in nodes], self.l2)
        return losses
