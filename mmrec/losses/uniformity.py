"""Alignment and uniformity on the unit sphere."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

_EPS = 1e-8  # below which a vector counts as this long, as in torch's cosine_similarity


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance of partners on the unit sphere (Wang and Isola 2020), [n, D] each."""
    apart = normalize(first, dim=1, eps=_EPS) - normalize(second, dim=1, eps=_EPS)
    return apart.square().sum(dim=1).mean()


def uniformity(
    rows: Tensor, alike: Tensor | None = None, *, most_similar: float = 1.0, chunk: int = 256
) -> Tensor:
    """Log of the mean over pairs a < b of exp(-2 |x_a - x_b|^2) on the unit sphere (Wang and Isola 2020).

    Each pair is looked at once, `chunk` rows at a time, forward and backward: memory is bounded by chunk x n.

    Args:
        rows: [n, D].
        alike: [n, E], whose cosines s_ab, cut to [0, most_similar], say how close two rows may be: pairs then
            add exp(4 (cos(x_a, x_b) - s_ab)) (calibrated uniformity; CM3, arXiv:2508.01226). Without, or
            where all are the same, it is the plain loss.
        most_similar: see alike.
        chunk: rows at a time.
    """
    if len(rows) < 2:
        return rows.sum() * 0
    unit = normalize(rows, dim=1, eps=_EPS)
    directions = None if alike is None else normalize(alike, dim=1, eps=_EPS)
    # At most e^8 each, so nothing overflows.
    total: Tensor = _Pairs.apply(unit, directions, most_similar, chunk)
    return torch.log(total) - math.log(len(rows) * (len(rows) - 1) / 2)


def align_uniform(first: Tensor, second: Tensor, gamma: float) -> Tensor:
    """Alignment + gamma times the mean of both uniformities (DirectAU, Wang et al. 2022, eq. 8-10)."""
    return alignment(first, second) + gamma * (uniformity(first) + uniformity(second)) / 2


class _Pairs(torch.autograd.Function):
    """Sum over a < b of e^(4 (x_a . x_b - s_ab)); tiles are made again in backward, none is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alike: Tensor | None, most_similar: float, chunk: int) -> Tensor:
        ctx.save_for_backward(x, alike)
        ctx.most_similar, ctx.chunk = most_similar, chunk
        starts = range(0, len(x), chunk)
        return torch.stack([_tile(x, alike, most_similar, start, chunk)[0].sum() for start in starts]).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        x, alike = ctx.saved_tensors
        grad_x = torch.zeros_like(x)
        grad_alike = None if alike is None else torch.zeros_like(alike)
        for start in range(0, len(x), ctx.chunk):
            tile, free = _tile(x, alike, ctx.most_similar, start, ctx.chunk)
            tile.mul_(4 * grads[0])
            _add_products(grad_x, tile, x, start)
            if grad_alike is not None:
                _add_products(grad_alike, tile.mul_(free).neg_(), alike, start)
        return grad_x, grad_alike, None, None


def _tile(
    x: Tensor, alike: Tensor | None, most_similar: float, start: int, chunk: int
) -> tuple[Tensor, Tensor | None]:
    """Rows from `start` with themselves and all later ones, 0 unless a < b; and where s_ab was not cut."""
    tile, free = x[start : start + chunk] @ x[start:].T, None
    if alike is None:
        tile.sub_(1)
    else:
        similar = alike[start : start + chunk] @ alike[start:].T
        free = (similar >= 0) & (similar <= most_similar)
        tile.sub_(similar.clamp_(0, most_similar))
    return tile.mul_(4).exp_().triu_(1), free


def _add_products(out: Tensor, tile: Tensor, x: Tensor, start: int) -> None:
    """Add what pairs (a, b) of a tile send to both ends."""
    out[start : start + len(tile)].addmm_(tile, x[start:])
    out[start:].addmm_(tile.T, x[start : start + len(tile)])
