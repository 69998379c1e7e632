"""BPR-MF: matrix factorisation, the model without a graph."""

from __future__ import annotations

from typing import Literal

from mmrec.graph.view import GraphView
from mmrec.losses.regularisers import L2
from mmrec.models.lightgcn import LightGCN


class BPRMF(LightGCN):
    """BPR-MF (Rendle et al. 2009): dot product of trained rows, which is LightGCN with no layers."""

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        reg: float = 1e-4,
        l2: L2 = "squared",
        init: Literal["normal", "xavier"] = "normal",
    ) -> None:
        """Make one table of users and items.

        Args:
            view: the training view.
            dim: width D of the embeddings.
            reg: strength of the L2 penalty on the batch's rows; 0 leaves it out.
            l2: `squared`, or `unsquared` as in the MMRec toolbox.
            init: `normal` is N(0, 0.1^2); `xavier` is xavier-uniform, of the same variance as
                MMRec's xavier-normal.
        """
        super().__init__(view, dim=dim, n_layers=0, reg=reg, l2=l2, init=init)
