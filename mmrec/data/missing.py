"""What stands in for the photos and texts that items lack."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from mmrec.errors import DataError, nearest
from mmrec.graph.ops import SparseMatrix, sparse_matrix
from mmrec.graph.view import GraphView

Missing = Literal["zero", "mean", "neighbours", "propagation"]
WAYS: tuple[Missing, ...] = ("zero", "mean", "neighbours", "propagation")
_STEPS = 20


def fill_missing(view: GraphView, how: Missing) -> GraphView:
    """The view with features for items that lack them.

    The ways are those of Malitesta et al. (CIKM 2024), "Do We Really Need to Drop Items with Missing
    Modalities in Multimodal Recommendation?". Only training clicks are looked at. What was present stays.

    Args:
        view: features with zero rows where `present` is False.
        how: `zero` leaves the zeros; `mean` is the mean row of the items that have one; `neighbours` is the
            mean over items clicked by the same users, weighted by how many users they share; `propagation`
            spreads rows over the graph of such items in 20 steps and puts the known rows back after each
            (Rossi et al. 2022, arXiv:2111.12128), so that items further away count too.

    Returns:
        A view whose `present` also covers what `neighbours` and `propagation` filled, so that the item graph
        links those items. After `mean` it does not: all rows are the same there, and items would be linked
        for lacking the same. Items that no click connects to a known row stay missing.

    Raises:
        DataError: for another word.
    """
    if how not in WAYS:
        raise DataError(f"features.missing is '{how}'{nearest(how, WAYS)}")
    if how == "zero" or all(bool(mask.all()) for mask in view.present.values()):
        return view
    features, present = dict(view.features), dict(view.present)
    clicks = None if how == "mean" else _clicks(view)
    for name, rows in view.features.items():
        known = view.present[name]
        if bool(known.all()) or not bool(known.any()):
            continue
        if clicks is None:
            features[name] = torch.where(known[:, None], rows, rows[known].mean(dim=0))
        else:
            filled = _neighbours(clicks, rows, known) if how == "neighbours" else _spread(clicks, rows, known)
            features[name] = torch.where(known[:, None], rows, filled)
            present[name] = known | filled.any(dim=1)
    return replace(view, features=features, present=present)


def _clicks(view: GraphView) -> SparseMatrix:
    """Users x items, 1 for a click."""
    users, items = view.edge_index
    ones = torch.ones(len(users), device=users.device)
    return sparse_matrix(users, items, ones, (view.num_users, view.num_items))


def _neighbours(clicks: SparseMatrix, rows: Tensor, known: Tensor) -> Tensor:
    """Sum_j C_ij x_j / sum_j C_ij over known items j, C_ij the users that i and j share."""
    weight = known.to(rows.dtype)[:, None]
    both = torch.cat([rows * weight, weight], dim=1)
    total = clicks.multiply_transposed(clicks.multiply(both))
    return total[:, :-1] / total[:, -1:].clamp(min=1)


def _spread(clicks: SparseMatrix, rows: Tensor, known: Tensor) -> Tensor:
    """X <- S X with known rows put back; S_ij = sum_u 1 / (d_u sqrt(d_i d_j)), two steps on the clicks."""
    num_users, num_items = clicks.csr.shape
    user_degree = clicks.multiply(rows.new_ones(num_items, 1))
    item_degree = clicks.multiply_transposed(rows.new_ones(num_users, 1))
    user_scale = torch.where(user_degree > 0, 1 / user_degree.clamp(min=1), 0)
    item_scale = torch.where(item_degree > 0, item_degree.clamp(min=1).rsqrt(), 0)
    start = torch.where(known[:, None], rows, 0)
    x = start
    for _ in range(_STEPS):
        x = item_scale * clicks.multiply_transposed(user_scale * clicks.multiply(item_scale * x))
        x = torch.where(known[:, None], start, x)
    return x
