"""Who is clicked together, and who clicks alike: graphs of counts."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from features.files import content_hash
from mmrec.errors import GraphError
from mmrec.graph.cache import Arrays, cached
from mmrec.graph.view import GraphView

Kind = Literal["items", "users"]
Weights = Literal["symmetric", "mean", "count", "softmax"]
_ROWS = 2048  # rows of R'R that are made at once


def cooccurrence_graph(
    view: GraphView,
    kind: Kind,
    *,
    k: int | None = 10,
    weights: Weights = "symmetric",
    share: bool = False,
) -> tuple[Tensor, Tensor]:
    """The k nodes that share the most partners with each: the top of R'R (items) or R R' (users).

    Args:
        view: its clicks count, each once; kept on disk under their hash, where the view keeps graphs.
        kind: items by users they share, or users by items.
        k: partners per node; None for all. Of equal counts the smaller number comes first.
        weights: `symmetric` is D^-1/2 C D^-1/2 with row sums D (SIGE); `mean` is D^-1 C (MMHCL's users);
            `count` the counts themselves; `softmax` a softmax over a row's counts (REARM).
        share: a partner counts 1 / (number of its clicks), so that who clicks everything says little.

    Returns:
        int64 [2, n], receiver and neighbour, by row, strongest first; float32 [n]. On the CPU.

    Raises:
        GraphError: if k is not at least 1.
    """
    if k is not None and k < 1:
        raise GraphError(f"co-occurrence has k {k}, expected at least 1")
    sizes = [view.num_users, view.num_items]
    key = f"partners-{content_hash(view.edge_index.cpu().numpy(), [kind, k, share, *sizes])}"
    found = cached(view.cache_dir, key, lambda: _count(view, kind, k, share))
    size, col, count = (torch.from_numpy(found[name]) for name in ("size", "col", "count"))
    row, col = torch.arange(len(size)).repeat_interleave(size), col.long()
    return torch.stack([row, col]), _weigh(row, col, count.float(), len(size), weights)


def item_partners(view: GraphView, k: int) -> tuple[Tensor, Tensor]:
    """The clean view's item co-occurrence, symmetric, made once for whoever mixes it into an item graph."""
    return view.freeze(f"item partners {k}", lambda clean: cooccurrence_graph(clean, "items", k=k))


def _count(view: GraphView, kind: Kind, k: int | None, share: bool) -> Arrays:
    import scipy.sparse

    users, items = view.edge_index.cpu().numpy()
    shape = (view.num_users, view.num_items)
    clicks = scipy.sparse.csr_matrix((np.ones(len(users), dtype=np.float32), (users, items)), shape=shape)
    clicks.data[:] = 1  # a pair that was clicked twice is one partner
    partners = (clicks.T if kind == "items" else clicks).tocsr()
    if share:
        partners = partners.multiply(1 / np.sqrt(np.maximum(partners.sum(axis=0), 1))).tocsr()
    across = partners.T.tocsr()
    parts = []
    for start in range(0, partners.shape[0], _ROWS):
        counts = (partners[start : start + _ROWS] @ across).tocoo()
        row, col, count = counts.row.astype(np.int64) + start, counts.col.astype(np.int64), counts.data
        other = row != col
        parts.append(_top(row[other], col[other], count[other], k))
    row, col, count = (np.concatenate(column) for column in zip(*parts, strict=True))
    # Without a k there are millions of them: rows as their sizes and half the bytes for each partner.
    size = np.bincount(row, minlength=partners.shape[0])
    return {"size": size, "col": col.astype(np.int32), "count": count if share else count.astype(np.int32)}


def _top(
    row: np.ndarray, col: np.ndarray, count: np.ndarray, k: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order = np.lexsort((col, -count, row))
    row, col, count = row[order], col[order], count[order]
    if k is None or not len(row):
        return row, col, count
    first = np.r_[0, np.flatnonzero(np.diff(row)) + 1]
    rank = np.arange(len(row)) - np.repeat(first, np.diff(np.r_[first, len(row)]))
    return row[rank < k], col[rank < k], count[rank < k]


def _weigh(row: Tensor, col: Tensor, count: Tensor, size: int, weights: Weights) -> Tensor:
    if weights == "count":
        return count
    if weights == "softmax":
        top = torch.full((size,), -torch.inf).scatter_reduce(0, row, count, "amax")
        count = (count - top[row]).exp()
    degree = torch.zeros(size).index_add_(0, row, count)
    if weights == "symmetric":
        scale = degree.rsqrt().masked_fill_(degree <= 0, 0.0)
        return count * scale[row] * scale[col]
    return count / degree[row]
