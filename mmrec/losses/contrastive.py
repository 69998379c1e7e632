"""Losses between two embeddings of the same thing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

_EPS = 1e-8  # below which a vector counts as this long, as in torch's cosine_similarity


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
