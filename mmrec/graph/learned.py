"""An item graph that is learned with the embeddings (LATTICE)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmrec.graph.knn import exact_neighbours

Graph = tuple[Tensor, Tensor]


def learned_neighbours(rows: Tensor, present: Tensor, *, k: int) -> Graph:
    """The k nearest by cosine, differentiable in the rows: who is near is fixed, how near is not.

    LATTICE (Zhang et al. 2021), eq. 5-7, without the items x items matrix: neighbours are found in blocks,
    and cosines computed again for these pairs alone. Alone among the builders it has no cache key: rows are
    other ones in each epoch, so that what was kept would never be found again.

    Args:
        rows: projected features [I, D].
        present: bool [I]; the others have no neighbours.
        k: neighbours per item, itself included.

    Returns:
        int64 [2, n] and cosines [n], negatives as zero.
    """
    ids = (present & rows.detach().any(dim=1)).nonzero().squeeze(1)
    if not len(ids):
        return ids.new_zeros(2, 0), rows.new_zeros(0)
    count = min(k, len(ids))
    near, _ = exact_neighbours(rows.detach().float(), ids, count, 256, "")
    row, col = ids.repeat_interleave(count), ids[near.flatten()]
    unit = normalize(rows, dim=1)
    cosine = (unit.index_select(0, row) * unit.index_select(0, col)).sum(dim=1)
    return torch.stack([row, col]), cosine.clamp(min=0)


def symmetric(index: Tensor, weight: Tensor, num_items: int) -> Tensor:
    """Weights divided by the roots of both ends' row sums, differentiable; 0 where a sum is."""
    degree = weight.new_zeros(num_items).index_add(0, index[0], weight)
    scale = torch.where(degree > 0, degree.clamp(min=1e-12).rsqrt(), torch.zeros_like(degree))
    return weight * scale[index[0]] * scale[index[1]]


def gather_messages(index: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    """Sum_j w_ij x_j, differentiable in weights and rows, [I, D]; for graphs that are used a few times."""
    messages = weight[:, None] * x.index_select(0, index[1])
    return torch.zeros_like(x).index_add(0, index[0], messages)
