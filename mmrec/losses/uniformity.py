"""Alignment and uniformity on the unit sphere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmrec.precision import full_precision

_EPS = 1e-8  # below which a vector counts as this long, as in torch's cosine_similarity


@full_precision
def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance of partners on the unit sphere (Wang and Isola 2020), [n, D] each."""
    apart = normalize(first, dim=1, eps=_EPS) - normalize(second, dim=1, eps=_EPS)
    return apart.square().sum(dim=1).mean()


def distinct(nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Where each distinct one of nodes [B] stands, in one of its places, and how often it comes: [n] each."""
    found, inverse, counts = torch.unique(nodes, return_inverse=True, return_counts=True)
    places = torch.arange(len(nodes), device=nodes.device)
    return torch.empty_like(found).scatter_(0, inverse, places), counts


@full_precision
def uniformity(
    rows: Tensor,
    alike: Tensor | None = None,
    *,
    counts: Tensor | None = None,
    most_similar: float = 1.0,
    chunk: int = 256,
) -> Tensor:
    """Log of the mean over pairs a < b of exp(-2 |x_a - x_b|^2) on the unit sphere (Wang and Isola 2020).

    Each pair is looked at once, `chunk` rows at a time, forward and backward: memory is bounded by chunk x n.
    A batch's nodes come several times; with their counts, distinct rows will do: a node that is drawn twice
    is a pair at distance 0.

    Args:
        rows: [n, D].
        alike: [n, E], whose cosines s_ab, cut to [0, most_similar], say how close two rows may be: pairs then
            add exp(4 (cos(x_a, x_b) - s_ab)) (calibrated uniformity; CM3, arXiv:2508.01226). Without, or
            where all are the same, it is the plain loss.
        counts: int64 [n], how many rows each stands for; 1 each by default.
        most_similar: see alike.
        chunk: rows at a time.
    """
    if len(rows) < 2 and (counts is None or int(counts.sum()) < 2):
        return rows.sum() * 0
    unit = normalize(rows, dim=1, eps=_EPS)
    directions = None if alike is None else normalize(alike, dim=1, eps=_EPS)
    # At most e^8 each, so nothing overflows.
    count = (torch.ones_like(unit[:, 0]) if counts is None else counts.to(unit.dtype)).detach()
    total: Tensor = _Pairs.apply(unit, count, directions, most_similar, chunk)
    drawn = count.sum(dtype=torch.promote_types(count.dtype, torch.float32))
    return torch.log(total) - torch.log(drawn * (drawn - 1) / 2)


def align_uniform(
    first: Tensor, second: Tensor, gamma: float, *, nodes: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Alignment + gamma times the mean of both uniformities (DirectAU, Wang et al. 2022, eq. 8-10).

    Args:
        first: [n, D].
        second: their partners [n, D].
        gamma: weight of uniformity.
        nodes: int64 [n] each, which node a row is of, where one comes several times: the same loss, for less.
    """
    parts = []
    for number, rows in enumerate((first, second)):
        places, counts = (None, None) if nodes is None else distinct(nodes[number])
        parts.append(uniformity(rows if places is None else rows.index_select(0, places), counts=counts))
    return alignment(first, second) + gamma * (parts[0] + parts[1]) / 2


class _Pairs(torch.autograd.Function):
    """Sum over pairs of e = e^(4 (x_a . x_b - s_ab)), where row a stands for c_a rows.

    That is sum over a < b of c_a c_b e_ab, plus sum of c_a (c_a - 1) / 2 e_aa. Tiles are made again in
    backward, none is kept.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, count: Tensor, alike: Tensor | None, most_similar: float, chunk: int
    ) -> Tensor:
        ctx.save_for_backward(x, count, alike)
        ctx.most_similar, ctx.chunk = most_similar, chunk
        sums = []
        for start in range(0, len(x), chunk):
            tile, _ = _tile(x, count, alike, most_similar, start, chunk)
            sums.append(torch.dot(count[start : start + chunk], tile @ count[start:]))
        return torch.stack(sums).sum()

    @staticmethod
    @full_precision
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor | None, None, None]:
        x, count, alike = ctx.saved_tensors
        # Counts are multiplied to rows, which is less than to tiles.
        heavy_x, grad_x = count[:, None] * x, torch.zeros_like(x)
        for_alike = None if alike is None else (count[:, None] * alike, torch.zeros_like(alike))
        for start in range(0, len(x), ctx.chunk):
            tile, free = _tile(x, count, alike, ctx.most_similar, start, ctx.chunk)
            tile.mul_(4 * grads[0])
            _add_products(grad_x, tile, heavy_x, start)
            if for_alike is not None and free is not None:
                _add_products(for_alike[1], tile.mul_(free).neg_(), for_alike[0], start)
        grad_alike = None if for_alike is None else for_alike[1].mul_(count[:, None])
        return grad_x.mul_(count[:, None]), None, grad_alike, None, None


def _tile(
    x: Tensor, count: Tensor, alike: Tensor | None, most_similar: float, start: int, chunk: int
) -> tuple[Tensor, Tensor | None]:
    """Rows from `start` with themselves and all later ones, 0 for a > b; and where s_ab was not cut.

    On the diagonal, what is left of e_aa when it is multiplied with c_a twice: (1 - 1 / c_a) / 2 of it.
    """
    tile, free = x[start : start + chunk] @ x[start:].T, None
    if alike is None:
        tile.sub_(1)
    else:
        similar = alike[start : start + chunk] @ alike[start:].T
        free = (similar >= 0) & (similar <= most_similar)
        tile.sub_(similar.clamp_(0, most_similar))
    tile.mul_(4).exp_().triu_()
    tile.diagonal().mul_(0.5 - 0.5 / count[start : start + chunk])
    return tile, free


def _add_products(out: Tensor, tile: Tensor, x: Tensor, start: int) -> None:
    """Add what pairs (a, b) of a tile send to both ends."""
    out[start : start + len(tile)].addmm_(tile, x[start:])
    out[start:].addmm_(tile.T, x[start : start + len(tile)])
