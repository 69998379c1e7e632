"""Sparse matrices and propagation: the only file that knows sparse back-ends.

A matrix is kept in CSR together with its transpose, so that the backward pass of a product is a product with
a matrix that is already there. Reading out the layers of a linear graph network is one autograd node, whose
backward is the same recursion on the gradient: no layer is stored.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mmrec.errors import GraphError
from mmrec.graph.view import Backend, GraphView

# Torch says once per process that CSR is in beta; the products used here are tested against dense ones.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")

Readout = Literal["mean", "sum", "last"]


@dataclass(frozen=True)
class SparseMatrix:
    """A sparse [R, C] matrix and its transpose.

    Attributes:
        csr: the matrix, torch sparse CSR.
        transposed: its transpose in CSR; the very same tensor where the matrix is symmetric.
        backend: `csr` is torch's sparse product; `scatter` gathers rows and sums segments with torch_scatter,
            slower but without torch's sparse tensors, for devices whose sparse product is missing.
    """

    csr: Tensor
    transposed: Tensor
    backend: Backend = "csr"

    def multiply(self, x: Tensor) -> Tensor:
        """The product with dense [C, D] without autograd: [R, D]."""
        return _BACKENDS[self.backend](self.csr, x)

    def multiply_transposed(self, x: Tensor) -> Tensor:
        """The product of the transpose with dense [R, D]: [C, D]."""
        return _BACKENDS[self.backend](self.transposed, x)


def sparse_matrix(
    row: Tensor, col: Tensor, weight: Tensor, shape: tuple[int, int], *, backend: Backend = "csr"
) -> SparseMatrix:
    """A `SparseMatrix` from coordinates; entries at the same place are added by the product.

    Args:
        row: int64 [n] in [0, R).
        col: int64 [n] in [0, C).
        weight: float [n].
        shape: (R, C).
        backend: see `SparseMatrix`.
    """
    forward = _csr(row, col, weight, shape)
    return SparseMatrix(forward, _csr(col, row, weight, (shape[1], shape[0])), backend)


def user_item_matrix(view: GraphView) -> SparseMatrix:
    """The bipartite graph with symmetric normalisation, users first: [U + I, U + I].

    A_ui = w_ui / sqrt(d_u d_i) with weighted degrees d over the view's own clicks and no self loop (LightGCN,
    He et al. 2020, eq. 3); the row of a node without clicks is empty. Made once per view.
    """
    if "user_item" not in view.derived:
        users, items = view.edge_index[0], view.edge_index[1] + view.num_users
        weight = _weights(view.edge_weight, users)
        row, col = torch.cat([users, items]), torch.cat([items, users])
        size = view.num_users + view.num_items
        both = torch.cat([weight, weight])
        degree = torch.zeros(size, dtype=both.dtype, device=both.device).index_add_(0, row, both)
        scale = degree.rsqrt().masked_fill_(degree <= 0, 0.0)
        matrix = _csr(row, col, both * scale[row] * scale[col], (size, size))
        view.derived["user_item"] = SparseMatrix(matrix, matrix, view.backend)
    found: SparseMatrix = view.derived["user_item"]
    return found


def item_matrix(view: GraphView) -> SparseMatrix:
    """The item-item graph as it stands in the view: [I, I]; made once per view.

    Raises:
        GraphError: if the view has no item graph.
    """
    if view.item_edge_index is None:
        raise GraphError("the model needs an item graph and the data has none; give features or graph.edges")
    if "item" not in view.derived:
        row, col = view.item_edge_index
        shape = (view.num_items, view.num_items)
        weight = _weights(view.item_edge_weight, row)
        view.derived["item"] = sparse_matrix(row, col, weight, shape, backend=view.backend)
    found: SparseMatrix = view.derived["item"]
    return found


def propagate(matrix: SparseMatrix, x: Tensor) -> Tensor:
    """One message-passing step: matrix @ x, [C, D] -> [R, D], differentiable in x."""
    return smooth(matrix, x, n_layers=1, readout="last")


def smooth(matrix: SparseMatrix, x: Tensor, *, n_layers: int, readout: Readout = "mean") -> Tensor:
    """Linear propagation over several layers, read out as one matrix.

    Args:
        matrix: [V, V] ([R, C] for one layer with `last`).
        x: layer 0, [V, D].
        n_layers: L; 0 gives x back.
        readout: `mean` of layers 0..L (LightGCN eq. 8), their `sum`, or the `last` layer alone (FREEDOM's
            item graph).

    Raises:
        GraphError: for a negative number of layers.
    """
    if n_layers < 0:
        raise GraphError(f"the number of layers is {n_layers}, expected at least 0")
    result: Tensor = _Smooth.apply(x, matrix, n_layers, readout)  # type: ignore[no-untyped-call]
    return result


class _Smooth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: SparseMatrix, n_layers: int, readout: Readout) -> Tensor:
        ctx.matrix, ctx.n_layers, ctx.readout = matrix, n_layers, readout
        return _read_out(matrix.multiply, x, n_layers, readout)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        # The read-out is a polynomial in the matrix, so its adjoint is the same polynomial in the transpose.
        grad = _read_out(ctx.matrix.multiply_transposed, grads[0].contiguous(), ctx.n_layers, ctx.readout)
        return grad, None, None, None


def _read_out(multiply: Callable[[Tensor], Tensor], x: Tensor, n_layers: int, readout: Readout) -> Tensor:
    if n_layers == 0:
        return x.clone()
    layer = multiply(x)
    total = layer if readout == "last" else x + layer
    for _ in range(n_layers - 1):
        layer = multiply(layer)
        total = layer if readout == "last" else total.add_(layer)
    return total.div_(n_layers + 1) if readout == "mean" else total


def _csr(row: Tensor, col: Tensor, weight: Tensor, shape: tuple[int, int]) -> Tensor:
    order = torch.argsort(row * shape[1] + col)  # rows in order, columns in order within a row
    start = torch.zeros(shape[0] + 1, dtype=torch.int64, device=row.device)
    torch.cumsum(torch.bincount(row, minlength=shape[0]), dim=0, out=start[1:])
    # Half the bytes of the indices, where they fit.
    index_type = torch.int32 if max(len(row), *shape) < 2**31 else torch.int64
    with warnings.catch_warnings():  # that CSR is in beta is nothing a user of this project can act on
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        return torch.sparse_csr_tensor(
            start.to(index_type), col[order].to(index_type), weight[order], shape, check_invariants=False
        )


def _weights(weight: Tensor | None, like: Tensor) -> Tensor:
    return torch.ones(len(like), device=like.device) if weight is None else weight


def _multiply_csr(csr: Tensor, x: Tensor) -> Tensor:
    # Into fresh memory with beta = 0: `csr @ x` fills a matrix with zeros and copies it before it multiplies,
    # which costs as much again (2.3 against 1.4 ms at Amazon-Baby's size on one core).
    return torch.empty(csr.shape[0], x.shape[1], dtype=x.dtype, device=x.device).addmm_(csr, x, beta=0)


def _multiply_scatter(csr: Tensor, x: Tensor) -> Tensor:
    try:
        from torch_scatter import segment_csr
    except ImportError as error:
        raise GraphError(
            "back-end 'scatter' needs torch-scatter, which is not installed; pip install 'mmrec[scatter]'"
        ) from error
    messages = x[csr.col_indices().long()] * csr.values()[:, None]
    summed: Tensor = segment_csr(messages, csr.crow_indices().long(), reduce="sum")
    return summed


_BACKENDS = {"csr": _multiply_csr, "scatter": _multiply_scatter}
