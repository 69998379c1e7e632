"""Penalties on the size of embeddings."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

L2 = Literal["squared", "unsquared"]


def l2(rows: list[Tensor], kind: L2 = "squared") -> Tensor:
    """Size of embedding rows, per pair of a batch.

    Args:
        rows: matrices [B, D], such as a batch's users, items and negatives.
        kind: `squared` is 1/2 sum of squares / B (LightGCN, eq. 15); `unsquared` is the sum of the matrices'
            Frobenius norms / B, as the MMRec toolbox has it. They need different strengths: the square of a
            norm of 10 is 100.
    """
    if kind == "squared":
        sizes = [0.5 * (matrix * matrix).sum() for matrix in rows]
    else:
        sizes = [_Norm.apply(matrix) for matrix in rows]
    return torch.stack(sizes).sum() / len(rows[-1])


class _Norm(torch.autograd.Function):
    """The Frobenius norm, backward in one pass over the matrix; torch's own takes two."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(matrix)
        ctx.save_for_backward(matrix, norm)
        return norm

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        matrix, norm = ctx.saved_tensors
        # Where all is zero there is no direction; zero is a subgradient.
        return matrix * (grads[0] / norm.clamp(min=torch.finfo(norm.dtype).tiny))
