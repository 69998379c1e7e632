"""Losses between two embeddings of the same thing."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity


def cosine_distance(online: Tensor, target: Tensor) -> Tensor:
    """1 - mean cosine, in [0, 2], as in BYOL and BM3 (Zhou et al. 2023, eq. 8).

    No gradient reaches `target`.

    Args:
        online: [B, D].
        target: [B, D].
    """
    return 1 - cosine_similarity(online, target.detach(), dim=-1).mean()
