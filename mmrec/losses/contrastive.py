"""Losses between two embeddings of the same thing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmrec.errors import ConfigError
from mmrec.precision import full_precision

_EPS = 1e-8  # below which a vector counts as this long, as in torch's cosine_similarity


@full_precision
def cosine_distance(online: Tensor, target: Tensor) -> Tensor:
    """1 - mean cosine, in [0, 2], as in BYOL and BM3 (Zhou et al. 2023, eq. 8).

    No gradient reaches `target`.

    Args:
        online: [B, D].
        target: [B, D].
    """
    direction = normalize(target.detach(), dim=1, eps=_EPS)
    mean: Tensor = _MeanCosine.apply(online, direction)
    return 1 - mean


class _MeanCosine(torch.autograd.Function):
    """Mean over rows of a . d / |a| with unit d; its gradient (d - cos a / |a|) / |a| in a few passes."""

    @staticmethod
    def forward(ctx: Any, online: Tensor, direction: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(online, dim=1).clamp_(min=_EPS)
        cosine = torch.linalg.vecdot(online, direction).div_(length)
        ctx.save_for_backward(online, direction, length, cosine)
        return cosine.mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        online, direction, length, cosine = ctx.saved_tensors
        scale = grads[0] / (len(online) * length)
        away = torch.where(length > _EPS, -cosine / length, 0.0)
        return torch.addcmul(direction, online, away[:, None]).mul_(scale[:, None]), None


def check_temperature(name: str, value: float) -> float:
    """`value` if it is a finite number above 0, else a one-line error.

    At 0 a softmax is nan, and below it the loss drives partners apart.

    Raises:
        ConfigError: naming the option.
    """
    if not 0 < value < float("inf"):
        raise ConfigError(f"{name} is {value}, expected a finite number above 0")
    return value


@full_precision
def info_nce(
    anchors: Tensor,
    partners: Tensor,
    temperature: float,
    *,
    candidates: Tensor | None = None,
    among_anchors: bool = False,
    unit: bool = True,
    chunk: int = 256,
) -> Tensor:
    """Mean over rows of -log( e^{cos(x, y) / t} / sum over candidates c of e^{cos(x, c) / t} ).

    Similarities are made tile by tile, forward and backward, and never kept: they take no more memory for
    more candidates. Rows should be of distinct nodes, or a node competes with itself.

    Args:
        anchors: x, [n, D].
        partners: y, [n, D].
        temperature: t, above 0.
        candidates: [N, D], partners included (all users, say); the partners [n, D] by default.
        among_anchors: other anchors compete too: adds e^{cos(x, x') / t} over x' other than x (GRACE; MMHCL).
        unit: compare directions; False takes dot products instead of cosines (LightGCL's code).
        chunk: a tile is this many rows and 8 times as many candidates.
    """

    def prepared(rows: Tensor) -> Tensor:
        return normalize(rows, dim=1, eps=_EPS) if unit else rows

    x, y = prepared(anchors), prepared(partners)
    among = y if candidates is None else prepared(candidates)
    total = log_sum_exp(x / temperature, among, chunk)
    if among_anchors:
        total = torch.logaddexp(total, log_sum_exp(x / temperature, x, chunk, without_self=True))
    return (total - (x * y).sum(dim=1) / temperature).mean()


@full_precision
def log_sum_exp(x: Tensor, y: Tensor, chunk: int, *, without_self: bool = False) -> Tensor:
    """Log of sum_j exp(x_i . y_j) for each row: [n, D] and [N, D] to [n], in tiles as in `info_nce`."""
    result: Tensor = _LogSumExp.apply(x, y, chunk, without_self)
    return result


class _LogSumExp(torch.autograd.Function):
    """Products are made again in backward, where they become a softmax: nothing of size n x N is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, chunk: int, without_self: bool) -> Tensor:
        ctx.chunk, ctx.without_self = chunk, without_self
        done: list[Tensor] = []
        for rows, others in _tiles(ctx, x, y):
            part = torch.logsumexp(_similarities(ctx, x, y, rows, others), dim=1)
            if others.start == 0:
                done.append(part)
            else:
                done[-1] = torch.logaddexp(done[-1], part)
        out = torch.cat(done) if done else x.new_full((len(x),), -torch.inf)
        ctx.save_for_backward(x, y, out)
        return out

    @staticmethod
    @full_precision
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, y, out = ctx.saved_tensors
        grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)
        for rows, others in _tiles(ctx, x, y):
            share = _similarities(ctx, x, y, rows, others)
            share.sub_(out[rows, None]).exp_().nan_to_num_(0.0).mul_(grads[0][rows, None])
            grad_x[rows].addmm_(share, y[others])
            grad_y[others].addmm_(share.T, x[rows])
        return grad_x, grad_y, None, None


def _tiles(ctx: Any, x: Tensor, y: Tensor) -> Iterator[tuple[slice, slice]]:
    """Rows of x and of y that meet; a tile of 256 x 2048 float32 stays in a processor's cache."""
    wide = 8 * ctx.chunk
    for start in range(0, len(x), ctx.chunk):
        for other in range(0, len(y), wide):
            yield slice(start, min(start + ctx.chunk, len(x))), slice(other, min(other + wide, len(y)))


def _similarities(ctx: Any, x: Tensor, y: Tensor, rows: slice, others: slice) -> Tensor:
    tile = x[rows] @ y[others].T
    first, last = max(rows.start, others.start), min(rows.stop, others.stop)
    if ctx.without_self and first < last:
        same = torch.arange(first, last, device=x.device)
        tile[same - rows.start, same - others.start] = -torch.inf
    return tile


@full_precision
def barlow(first: Tensor, second: Tensor, off_diagonal: float) -> Tensor:
    """Sum_i (1 - c_ii)^2 + off_diagonal sum_{i != j} c_ij^2, c the correlation of columns of two [n, D]."""

    def standard(rows: Tensor) -> Tensor:
        centred = rows - rows.mean(dim=0)
        return centred / torch.linalg.vector_norm(centred, dim=0).clamp(min=_EPS)

    correlation = standard(first).T @ standard(second)
    same = torch.diagonal(correlation)
    return (1 - same).square().sum() + off_diagonal * (correlation.square().sum() - same.square().sum())


@full_precision
def decorrelation(first: Tensor, second: Tensor) -> Tensor:
    """Mean square of X'Y, columns centred and rows divided by their length: 0 if nothing is shared (REARM).

    Args:
        first: [n, D].
        second: [n, E].
    """

    def prepare(rows: Tensor) -> Tensor:
        centred = rows - rows.mean(dim=0)
        return centred / (torch.linalg.vector_norm(centred.detach(), dim=1, keepdim=True) + 1e-6)

    return (prepare(first).T @ prepare(second)).square().mean()
