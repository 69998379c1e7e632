"""LightGCN: linear propagation over the user-item graph."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mmrec.graph.matrices import user_item_matrix
from mmrec.graph.ops import Readout
from mmrec.graph.view import GraphView
from mmrec.losses.ranking import bpr_loss
from mmrec.losses.regularisers import L2, l2
from mmrec.models.base import Batch, Embeddings, Propagated, Recommender, Rows, embedding_table


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
        skip_first: bool = False,
    ) -> None:
        """Make one table of users and items.

        Args:
            view: the training view.
            dim: width D of the embeddings.
            n_layers: L, number of propagation layers.
            reg: strength of the L2 penalty on the batch's rows of E0; 0 leaves it out.
            l2: `squared` as in the paper; `unsquared` as in the MMRec toolbox, whose settings have reg 1e-3.
            init: `normal` is N(0, 0.1^2) (the authors' code); `xavier` is xavier-uniform (MMRec).
            skip_first: leave layer 0 out of the mean, as SimGCL does (Yu et al. 2022).
        """
        super().__init__(view)
        self.n_layers, self.reg, self.l2 = n_layers, reg, l2
        self.readout: Readout = "mean_but_first" if skip_first else "mean"
        self.table = embedding_table((view.num_users, view.num_items), dim, init)

    def embed(self, view: GraphView) -> Embeddings:
        """Mean of the layers."""
        matrix = user_item_matrix(view)
        return Propagated(matrix, self.table, self.num_users, n_layers=self.n_layers, readout=self.readout)

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`bpr` on the propagated rows, `l2` on the rows of layer 0."""
        rows = out.rows(batch)
        return {"bpr": bpr_loss(rows.users, rows.items - rows.negatives), **self.penalty(rows, batch)}

    def penalty(self, rows: Rows, batch: Batch) -> dict[str, Tensor]:
        """`l2` on the batch's rows of layer 0; nothing where `reg` is 0."""
        if not self.reg:
            return {}
        first = rows.first
        if first is None:  # a subclass made its embeddings some other way
            first = self.table.index_select(0, batch.nodes(self.num_users))
        return {"l2": self.reg * l2(list(first.chunk(3)), self.l2)}
