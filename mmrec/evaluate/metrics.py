"""Ranking metrics of top-K lists, per user, as tensor operations on the lists' device.

Notation: a user u has the set T_u of relevant items; hit_r is 1 where the item at rank r (1 is the top) is in
T_u. Users without relevant items get 0 everywhere: leave them out before averaging.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmrec.errors import ConfigError, nearest


def recall(hits: Tensor, num_relevant: Tensor) -> Tensor:
    """Share of the relevant items that are in the list: sum_r hit_r / |T_u|."""
    return hits.sum(1) / num_relevant.clamp(min=1)


def ndcg(hits: Tensor, num_relevant: Tensor) -> Tensor:
    """Gains that fall with the rank, over the best possible: sum_r hit_r / log2(r + 1) / IDCG.

    IDCG = sum_{r <= min(K, |T_u|)} 1 / log2(r + 1): the true ideal, not that of the retrieved hits.
    """
    ranks = _ranks(hits)
    discount = 1 / torch.log2(ranks + 1)
    ideal = ((ranks <= num_relevant.clamp(min=1).unsqueeze(1)) * discount).sum(1)
    return (hits * discount).sum(1) / ideal


def precision(hits: Tensor, num_relevant: Tensor) -> Tensor:
    """Share of the list that is relevant: sum_r hit_r / K."""
    return hits.sum(1) / hits.shape[1]


def average_precision(hits: Tensor, num_relevant: Tensor) -> Tensor:
    """Precision at each hit: sum_r hit_r precision@r / min(K, |T_u|); its mean over users is MAP."""
    # Counted as integers: sums of floats have no deterministic cumulative form on GPUs.
    precision_at = hits.long().cumsum(1) / _ranks(hits)
    return (hits * precision_at).sum(1) / num_relevant.clamp(min=1, max=hits.shape[1])


def reciprocal_rank(hits: Tensor, num_relevant: Tensor) -> Tensor:
    """1 / rank of the first hit, 0 where there is none; its mean over users is MRR."""
    return (hits / _ranks(hits)).amax(1)


def hit(hits: Tensor, num_relevant: Tensor) -> Tensor:
    """1 where the list holds any relevant item, else 0."""
    return hits.any(1).double()


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "recall": recall,
    "ndcg": ndcg,
    "precision": precision,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "hit": hit,
}


def ranking_metrics(
    hits: Tensor, num_relevant: Tensor, topk: Sequence[int], names: Sequence[str] = tuple(METRICS)
) -> dict[str, Tensor]:
    """Per-user values of the named metrics, each at each K.

    Args:
        hits: bool [B, K_max]; whether the recommendation at rank column + 1 is relevant. Lists shorter than
            K_max are filled up with False.
        num_relevant: integers [B]; |T_u|, all relevant items of the user, not only the retrieved ones.
        topk: the Ks, each from 1 to K_max.
        names: which metrics, of recall, ndcg, precision, map, mrr, hit.

    Returns:
        ``{"recall@20": float64 [B], ...}`` on the device of `hits`, K by K within each metric.

    Raises:
        ConfigError: an unknown metric, or a K below 1 or above K_max.
    """
    for name in names:
        if name not in METRICS:
            raise ConfigError(f"unknown metric '{name}'{nearest(name, METRICS)}")
    for k in topk:
        if not 1 <= k <= hits.shape[1]:
            raise ConfigError(
                f"topk holds {k}, expected 1 to {hits.shape[1]}, the length of the recommendation lists"
            )
    gains = hits.double()
    relevant = num_relevant.double()
    return {f"{name}@{k}": METRICS[name](gains[:, :k], relevant) for name in names for k in topk}


def _ranks(hits: Tensor) -> Tensor:
    return torch.arange(1, hits.shape[1] + 1, dtype=torch.float64, device=hits.device)
