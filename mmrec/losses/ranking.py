"""Losses that rank a clicked item above another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking (Rendle et al. 2009): mean of -log sigmoid(positive - negative).

    Args:
        positive: scores of clicked items [B].
        negative: scores of items not clicked [B].
    """
    return softplus(negative - positive).mean()


def bpr_loss(users: Tensor, difference: Tensor) -> Tensor:
    """BPR of dot products: as these are linear, all it takes is the clicked item's vector minus the other's.

    Args:
        users: [B, D].
        difference: clicked minus not clicked, [B, D].
    """
    return softplus(-(users * difference).sum(dim=1)).mean()


def sampled_softmax(positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Mean of -log( e^{p / t} / (e^{p / t} + sum_j e^{n_j / t}) ).

    Args:
        positive: scores of clicked items [B].
        negatives: scores of drawn items [B, n].
        temperature: t, above 0.
    """
    scores = torch.cat([positive[:, None], negatives], dim=1) / temperature
    return (torch.logsumexp(scores, dim=1) - scores[:, 0]).mean()
