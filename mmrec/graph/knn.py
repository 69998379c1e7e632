"""Exact nearest neighbours in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmrec.errors import GraphError
from mmrec.report.progress import track


def knn(
    features: Tensor, present: Tensor, *, k: int = 10, memory_mb: int = 512, title: str = "kNN"
) -> tuple[Tensor, Tensor]:
    """The k items of largest cosine for every item that has features, itself included.

    Exact: every pair is compared, in blocks of rows, so that the items x items matrix is never held. An item
    without features has no neighbours and is nobody's neighbour. The same goes for a zero row (a text of
    unknown words, say): it has no direction, and chance would pick its neighbours.

    Args:
        features: float [I, F].
        present: bool [I].
        k: neighbours per item, fewer where fewer items have features.
        memory_mb: MiB that a block of similarities may take.
        title: what the progress bar says.

    Returns:
        int64 [2, P * k]: row 0 the item, row 1 its neighbour, nearest first; and float32 [P * k] cosines, for
        the P items with features, in order.

    Raises:
        GraphError: for k below 1.
    """
    if k < 1:
        raise GraphError(f"graph.k is {k}, expected at least 1")
    ids = (present & features.any(dim=1)).nonzero().squeeze(1)
    if len(ids) == 0:
        return torch.empty(2, 0, dtype=torch.int64, device=features.device), features.new_empty(0)
    unit = normalize(features[ids].float(), dim=1)
    k = min(k, len(ids))
    neighbours = torch.empty(len(ids), k, dtype=torch.int64, device=features.device)
    cosines = torch.empty(len(ids), k, device=features.device)
    blocks = list(_blocks(len(ids), memory_mb))
    for start, stop in track(blocks, title):
        similarity = unit[start:stop] @ unit.T
        torch.topk(similarity, k, dim=1, out=(cosines[start:stop], neighbours[start:stop]))
    return torch.stack([ids.repeat_interleave(k), ids[neighbours.flatten()]]), cosines.flatten()


def _blocks(rows: int, memory_mb: int) -> Iterator[tuple[int, int]]:
    size = max(1, min(rows, memory_mb * 2**20 // (4 * rows)))
    for start in range(0, rows, size):
        yield start, min(start + size, rows)
