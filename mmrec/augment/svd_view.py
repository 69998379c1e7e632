"""The clicks as their strongest singular vectors see them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmrec.augment.base import Augmentation
from mmrec.errors import GraphError
from mmrec.graph.matrices import normalised_weights
from mmrec.graph.view import GraphView

_SMALL = 100  # below this many users or items the whole decomposition is no dearer


class SVDView(Augmentation):
    """What layers give comes from the clicks' truncated SVD (LightGCL, Cai et al. 2023, eq. 4-6).

    With A ~ U_q S_q V_q', layer l is U_q S_q V_q' e^(l-1), where e^(l-1) is the clean graph's layer. Nothing
    is drawn, and the decomposition is made once per graph: contrast it with the clean view, `augment.against
    clean`.
    """

    def __init__(self, rank: int = 5) -> None:
        """Set the rank.

        Args:
            rank: q, number of singular vectors; the paper's is 5.

        Raises:
            GraphError: if it is not at least 1.
        """
        if rank < 1:
            raise GraphError(f"SVDView.rank is {rank}, expected at least 1")
        self.rank = rank

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view of low rank."""
        found = view.derive(f"clicks: svd {self.rank}", lambda view: low_rank_clicks(view, self.rank))
        return view.changed(low_rank=found)


def low_rank_clicks(view: GraphView, rank: int) -> tuple[Tensor, Tensor]:
    """P [U, q] and Q [I, q] whose product is the best approximation of the normalised clicks of rank q."""
    import scipy.sparse

    weight = normalised_weights(view)
    users, items = view.edge_index.cpu().numpy()
    shape = (view.num_users, view.num_items)
    clicks = scipy.sparse.csr_matrix((weight.double().cpu().numpy(), (users, items)), shape=shape)
    if min(shape) <= max(_SMALL, 2 * rank):
        left, size, right = np.linalg.svd(clicks.toarray(), full_matrices=False)
    else:
        # Randomised (Halko et al. 2011): many singular values here are 1, where Lanczos takes minutes.
        from sklearn.utils.extmath import randomized_svd

        # As many to spare as are wanted: with ten, a tenth of the strongest 256 of TikTok were others.
        spare = max(10, rank)
        left, size, right = randomized_svd(clicks, rank, n_oversamples=spare, n_iter=12, random_state=0)
    factors = left[:, :rank] * size[:rank], right[:rank].T
    first, second = (torch.from_numpy(np.ascontiguousarray(factor)).to(weight) for factor in factors)
    return first, second
