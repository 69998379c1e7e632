"""Attention between the numbers of a vector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mmrec.precision import full_precision
from mmrec.train.streams import keep

# Weights [rows, D, D] of a block: on a CPU they should stay in its cache, on a GPU keep it busy.
_BLOCK = {"cpu": 2**18, "cuda": 2**25}


class ScalarAttention(nn.Module):
    """Attention over a vector as a sequence of its numbers: query, key, value and output are scalars.

    REARM's (Ma et al. 2025). Its weights would be n D^2 numbers: they are made for some rows at a time, and
    again for the gradient. Between, n D numbers are kept, and a byte for each weight that can be dropped.
    """

    def __init__(self) -> None:
        """Scales of query, key, value and output in U(-1, 1); their offsets are 0."""
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(4).uniform_(-1, 1)), nn.Parameter(torch.zeros(4))

    def forward(self, query: Tensor, other: Tensor, drop: float, rng: torch.Generator | None) -> Tensor:
        """[n, D] asks [n, D]: [n, D]. A share of the weights is dropped where there is an `rng`."""
        q, k, v = (self.weight[n] * x + self.bias[n] for n, x in enumerate((query, other, other)))
        return self.weight[3] * attend(q, k, v, drop, rng) + self.bias[3]


@full_precision
def attend(q: Tensor, k: Tensor, v: Tensor, drop: float = 0.0, rng: torch.Generator | None = None) -> Tensor:
    """Row by row softmax(q k') v, of [n, D] each: [n, D]; dropout is of the softmax's numbers."""
    out: Tensor = _Attend.apply(q, k, v, drop, rng)
    return out


class _Attend(torch.autograd.Function):
    """P is the softmax, R what dropout leaves of it over the share that stays; * is number by number."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, drop: float, rng: torch.Generator | None
    ) -> Tensor:
        """R v."""
        out, coins = torch.empty_like(q), []
        for rows, shares in _blocks(q, k):
            if rng is not None:
                coins.append(keep(shares.shape, 1 - drop, rng))
                shares.mul_(coins[-1])
            out[rows] = _times(shares, v[rows])
        ctx.left = 1 - drop if coins else 1.0
        ctx.save_for_backward(q, k, v, out.div_(ctx.left), *coins)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """With g the gradient and o = R v: of v R' g, of q g * (R (v * k) - o * (P k)), of k the like.

        That is v * (R' (q * g)) - P' (q * g * o). As o sums what the softmax's own gradient sums, no other
        matrix than P and R is made.
        """
        q, k, v, out, *coins = ctx.saved_tensors
        of_q, of_k, of_v = (torch.empty_like(x) for x in (q, k, v))
        asked, valued = q * grad, v * k
        for number, (rows, shares) in enumerate(_blocks(q, k)):
            less_q = out[rows] * _times(shares, k[rows])
            less_k = _times(shares.mT, asked[rows] * out[rows])
            if coins:
                shares.mul_(coins[number])
            of_q[rows] = _times(shares, valued[rows]).div_(ctx.left) - less_q
            back = torch.bmm(shares.mT, torch.stack([grad[rows], asked[rows]], dim=2)).div_(ctx.left)
            of_v[rows] = back[:, :, 0]
            of_k[rows] = v[rows] * back[:, :, 1] - less_k
        return of_q.mul_(grad), of_k, of_v, None, None


def _blocks(q: Tensor, k: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Some rows, and their softmax(q k') [rows, D, D], the caller's to change."""
    n, width = q.shape
    step = max(1, _BLOCK.get(q.device.type, _BLOCK["cpu"]) // width**2)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        yield rows, torch.softmax(q[rows, :, None] * k[rows, None, :], dim=2)


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """[n, D, D] times [n, D]: [n, D]."""
    return torch.bmm(matrices, vectors[:, :, None]).squeeze(2)
