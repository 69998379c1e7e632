"""Clicks as pairs of nodes whose weights are made at each step, differentiable in weights and rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmrec.graph.matrices import click_order, user_item_matrix
from mmrec.graph.ops import SparseMatrix, with_values
from mmrec.graph.view import GraphView

_CHUNK = 2048  # pairs whose rows stay in a processor's cache: half the time of all at once


@dataclass(frozen=True)
class Pairs:
    """Pairs of nodes, and the symmetric matrix [V, V] that has a place for each of them both ways.

    Attributes:
        first: int64 [E].
        second: int64 [E].
        order: int64 [2 E], which of (first, second) and then of (second, first) is at each place, by rows.
        places: the matrix; its values are of no account.
    """

    first: Tensor
    second: Tensor
    order: Tensor
    places: SparseMatrix

    def matrix(self, weight: Tensor) -> SparseMatrix:
        """With a weight for each pair, [E]."""
        return with_values(self.places, torch.cat([weight, weight]).index_select(0, self.order))

    def dots(self, x: Tensor, y: Tensor) -> Tensor:
        """Of row `first` of x with row `second` of y, [E], without autograd."""
        size = _CHUNK if x.device.type == "cpu" else max(len(self.first), 1)
        parts = [
            (x.index_select(0, first) * y.index_select(0, second)).sum(dim=1)
            for first, second in zip(
                *(torch.split(one, size) for one in (self.first, self.second)), strict=True
            )
        ]
        return torch.cat(parts)


def click_pairs(view: GraphView) -> Pairs:
    """The clicks as pairs of a user and node U + item; made once per view."""

    def make(view: GraphView) -> Pairs:
        places = user_item_matrix(view)
        plain = SparseMatrix(places.csr, places.transposed, places.backend)
        users, items = view.edge_index[0], view.edge_index[1] + view.num_users
        return Pairs(users, items, click_order(view), plain)

    return view.derive("clicks: pairs", make)


def pair_dots(pairs: Pairs, x: Tensor) -> Tensor:
    """Inner products of both ends' rows of x [V, D]: [E]. The gradient is a sparse product."""
    result: Tensor = _Dots.apply(x, pairs)  # type: ignore[no-untyped-call]
    return result


def pair_sums(pairs: Pairs, weight: Tensor, x: Tensor) -> Tensor:
    """For each node the sum of its partners' rows of x [V, D], times the pairs' weights [E]: [V, D]."""
    result: Tensor = _Sums.apply(weight, x, pairs)  # type: ignore[no-untyped-call]
    return result


class _Dots(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(x)
        ctx.pairs = pairs
        return pairs.dots(x, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return ctx.pairs.matrix(grads[0]).multiply(x), None


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(x)
        ctx.pairs, ctx.matrix = pairs, pairs.matrix(weight)
        result: Tensor = ctx.matrix.multiply(x)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (x,) = ctx.saved_tensors
        grad = grads[0].contiguous()
        return ctx.pairs.dots(grad, x) + ctx.pairs.dots(x, grad), ctx.matrix.multiply_transposed(grad), None
