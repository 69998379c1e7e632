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
from mmrec.graph import native
from mmrec.graph.view import Backend, Inside
from mmrec.precision import full_precision

# Torch says once per process that CSR is in beta; the products used here are tested against dense ones.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")

Readout = Literal["mean", "sum", "last", "mean_but_first"]


@dataclass(frozen=True)
class SparseMatrix:
    """A sparse [R, C] matrix and its transpose.

    Attributes:
        csr: the matrix, torch sparse CSR.
        transposed: its transpose in CSR; the very same tensor where the matrix is symmetric.
        backend: `native` is the project's CPU kernel, the fastest where it fits (experiments/speed/README.md
            has the measurements); `csr` is torch's sparse product; `scatter` gathers rows and sums segments
            with torch_scatter, slower but without torch's sparse tensors, for devices whose sparse product is
            missing. `auto` is `native` where it fits, else `csr`.
        inside: changes of each layer, as in the view.
        layers: a matrix for each layer in turn, as in the view; empty where all are this one.
        low_rank: left and right [R, q] whose product, left @ right.T, stands for this matrix in what each
            layer gives; the next layer still starts from this matrix (LightGCL, Cai et al. 2023, eq. 6).
    """

    csr: Tensor
    transposed: Tensor
    backend: Backend = "auto"
    inside: tuple[Inside, ...] = ()
    layers: tuple[SparseMatrix, ...] = ()
    low_rank: tuple[Tensor, Tensor] | None = None

    @property
    def is_plain(self) -> bool:
        """True where every layer is one and the same product."""
        return not self.inside and not self.layers and self.low_rank is None

    def multiply(self, x: Tensor, *, add: Tensor | None = None, scale: float = 1.0) -> Tensor:
        """Scale * (add + matrix @ x) without autograd: dense [C, D] and [R, D] to [R, D]."""
        return _multiply(self.backend, self.csr, x, add, scale)

    def multiply_transposed(self, x: Tensor, *, add: Tensor | None = None, scale: float = 1.0) -> Tensor:
        """Scale * (add + transpose @ x) without autograd: dense [R, D] and [C, D] to [C, D]."""
        return _multiply(self.backend, self.transposed, x, add, scale)


def sparse_matrix(
    row: Tensor, col: Tensor, weight: Tensor, shape: tuple[int, int], *, backend: Backend = "auto"
) -> SparseMatrix:
    """A `SparseMatrix` from coordinates; entries at the same place are added by the product.

    Args:
        row: int64 [n] in [0, R).
        col: int64 [n] in [0, C).
        weight: float [n].
        shape: (R, C).
        backend: see `SparseMatrix`.
    """
    forward = csr(row, col, weight, shape)
    return SparseMatrix(forward, csr(col, row, weight, (shape[1], shape[0])), backend)


def with_values(matrix: SparseMatrix, value: Tensor) -> SparseMatrix:
    """A symmetric matrix with other values, symmetric as well: [n], in the order of its places."""
    start, column = matrix.csr.crow_indices(), matrix.csr.col_indices()
    forward = _quietly_csr(start, column, value, (len(start) - 1, len(start) - 1))
    return SparseMatrix(forward, forward, matrix.backend)


def propagate(matrix: SparseMatrix, x: Tensor) -> Tensor:
    """One message-passing step: matrix @ x, [C, D] -> [R, D], differentiable in x."""
    return smooth(matrix, x, n_layers=1, readout="last")


def check_layers(n_layers: int) -> int:
    """The number as it came.

    Raises:
        GraphError: if it is negative.
    """
    if n_layers < 0:
        raise GraphError(f"the number of layers is {n_layers}, expected at least 0")
    return n_layers


def smooth(matrix: SparseMatrix, x: Tensor, *, n_layers: int, readout: Readout = "mean") -> Tensor:
    """Linear propagation over several layers, read out as one matrix.

    Args:
        matrix: [V, V] ([R, C] for one layer with `last`).
        x: layer 0, [V, D].
        n_layers: L; 0 gives x back.
        readout: `mean` of layers 0..L (LightGCN eq. 8), their `sum`, the `last` layer alone (FREEDOM's
            item graph), or `mean_but_first`, of layers 1..L (SimGCL).

    Raises:
        GraphError: for a negative number of layers.
    """
    check_layers(n_layers)
    if not matrix.is_plain:
        return _layer_by_layer(matrix, x, n_layers, readout)
    result: Tensor = _Smooth.apply(x, matrix, n_layers, readout)  # type: ignore[no-untyped-call]
    return result


def one_layer(matrix: SparseMatrix, x: Tensor, number: int) -> Tensor:
    """Layer `number` (from 1) of the one before, [V, D], without what the view asks for inside."""
    step = matrix.layers[(number - 1) % len(matrix.layers)] if matrix.layers else matrix
    result: Tensor = _Smooth.apply(x, step, 1, "last")  # type: ignore[no-untyped-call]
    return result


def layer_outputs(matrix: SparseMatrix, x: Tensor, n_layers: int) -> list[Tensor]:
    """Layers 0..L, each [V, D], with whatever the view asks for inside: for models that look at each."""
    out, current = [x], x
    for number in range(1, check_layers(n_layers) + 1):
        before, current = current, one_layer(matrix, current, number)
        if matrix.low_rank is None:
            current = out_of_layer = _changed(matrix, current, number)
        else:
            left, right = matrix.low_rank
            out_of_layer = _changed(matrix, left @ (right.T @ before), number)
        out.append(out_of_layer)
    return out


def _changed(matrix: SparseMatrix, layer: Tensor, number: int) -> Tensor:
    for change in matrix.inside:
        layer = change(layer, number)
    return layer


def _layer_by_layer(matrix: SparseMatrix, x: Tensor, n_layers: int, readout: Readout) -> Tensor:
    layers = layer_outputs(matrix, x, n_layers)
    if readout == "last":
        return layers[-1]
    if readout == "mean_but_first" and n_layers:
        layers = layers[1:]
    total = torch.stack(layers).sum(dim=0)
    return total if readout == "sum" else total / len(layers)


def row_differences(table: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Rows `first` [B] of a table [N, F] minus its rows `second` [B]: [B, F], differentiable in the table.

    It is the product with a sparse [B, N] of +1 and -1, so that wide rows are read once and none is copied.
    """
    count, device = len(first), table.device
    # int32 as the native kernel has it; a table of more rows than that has no place in memory
    start = torch.arange(0, 2 * count + 1, 2, dtype=torch.int32, device=device)
    column = torch.stack([first, second], dim=1).flatten().int()
    value = torch.tensor([1.0, -1.0], dtype=table.dtype, device=device).repeat(count)
    chosen = _quietly_csr(start, column, value, (count, len(table)))
    result: Tensor = _RowDifferences.apply(table, chosen, first, second)  # type: ignore[no-untyped-call]
    return result


class _RowDifferences(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, chosen: Tensor, first: Tensor, second: Tensor) -> Tensor:
        ctx.save_for_backward(first, second)
        ctx.shape = table.shape
        return _multiply("auto", chosen, table, None, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        first, second = ctx.saved_tensors
        grad = grads[0].new_zeros(ctx.shape)
        return grad.index_add_(0, first, grads[0]).index_add_(0, second, grads[0], alpha=-1), None, None, None


def smooth_rows(
    matrix: SparseMatrix, x: Tensor, nodes: Tensor, *, n_layers: int, readout: Readout = "mean"
) -> tuple[Tensor, Tensor]:
    """Some rows of `smooth`, and the same rows of layer 0: all that a training step needs.

    With the native kernel the last layer is computed for these rows alone and backward starts from them
    alone, so that two of the 2 L products are done for a part of the graph.

    Args:
        matrix: [V, V].
        x: layer 0, [V, D].
        nodes: int64 [n]; a node may come several times.
        n_layers: L.
        readout: see `smooth`.

    Returns:
        [n, D] and [n, D].
    """
    check_layers(n_layers)
    is_native = backend_of(matrix.backend, matrix.csr, x) == "native" and native.fits(matrix.csr, x)
    if n_layers == 0 or not matrix.is_plain or not is_native:
        final = smooth(matrix, x, n_layers=n_layers, readout=readout)
        return final.index_select(0, nodes), x.index_select(0, nodes)
    rows: tuple[Tensor, Tensor] = _SmoothRows.apply(  # type: ignore[no-untyped-call]
        x, matrix, nodes, n_layers, readout
    )
    return rows


class _SmoothRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, matrix: SparseMatrix, nodes: Tensor, n_layers: int, readout: Readout
    ) -> tuple[Tensor, Tensor]:
        touched = torch.zeros(len(x), dtype=torch.bool)
        touched[nodes] = True
        distinct = touched.nonzero().squeeze(1)
        # Where a node stands among the distinct ones; the others are sent to the row after the last.
        place = torch.full((len(x),), len(distinct), dtype=torch.int32)
        place[distinct] = torch.arange(len(distinct), dtype=torch.int32)
        places = place.index_select(0, nodes).long()
        ctx.save_for_backward(place, places)
        ctx.matrix, ctx.n_layers, ctx.readout, ctx.count = matrix, n_layers, readout, len(distinct)
        total, add = x, None if readout == "last" else x
        for _ in range(n_layers - 1):
            total = native.multiply(matrix.csr, total, add=add)
        scale, last_add = _scale(readout, n_layers), add if readout != "mean_but_first" else None
        final = native.multiply(matrix.csr, total, add=last_add, scale=scale, rows=distinct)
        return final.index_select(0, places), x.index_select(0, nodes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        place, places = ctx.saved_tensors
        scale = _scale(ctx.readout, ctx.n_layers)
        # The gradient stays as short as it came, with a row of zeros at its end for nodes that have none.
        coming = grads[0].new_zeros(ctx.count + 1, grads[0].shape[1]).index_add_(0, places, grads[0])
        add = None if ctx.readout == "last" else coming
        last_add = coming.clone() if ctx.readout in ("mean", "sum") else torch.zeros_like(coming)
        last_add.index_add_(0, places, grads[1] / scale)
        total = coming
        for left in reversed(range(ctx.n_layers)):
            total = native.multiply(
                ctx.matrix.transposed,
                total,
                place=place if total is coming else None,
                add=add if left else last_add,
                add_place=place,
                scale=1.0 if left else scale,
            )
        return total, None, None, None, None


def _scale(readout: Readout, n_layers: int) -> float:
    return 1 / (n_layers + 1) if readout == "mean" else 1 / n_layers if readout == "mean_but_first" else 1.0


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


def _read_out(multiply: Callable[..., Tensor], x: Tensor, n_layers: int, readout: Readout) -> Tensor:
    if n_layers == 0:
        return x.clone()
    if readout == "last":
        layer = x
        for _ in range(n_layers):
            layer = multiply(layer)
        return layer
    # Horner's rule: x + A(x + A(x + ...)), so that a layer is one pass over memory and none is kept.
    total = x
    for _ in range(n_layers - 1):
        total = multiply(total, add=x)
    last_add = None if readout == "mean_but_first" else x
    return multiply(total, add=last_add, scale=_scale(readout, n_layers))


def csr(
    row: Tensor, col: Tensor, weight: Tensor, shape: tuple[int, int], *, order: Tensor | None = None
) -> Tensor:
    """Coordinates as torch's sparse CSR; repeats stay side by side. `order` sorts by row, then column."""
    if order is None:
        order = torch.argsort(row * shape[1] + col)
    start = torch.zeros(shape[0] + 1, dtype=torch.int64, device=row.device)
    torch.cumsum(torch.bincount(row, minlength=shape[0]), dim=0, out=start[1:])
    # Half the bytes of the indices, where they fit.
    index_type = torch.int32 if max(len(row), *shape) < 2**31 else torch.int64
    return _quietly_csr(start.to(index_type), col[order].to(index_type), weight[order], shape)


def _quietly_csr(start: Tensor, column: Tensor, value: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():  # that CSR is in beta is nothing a user of this project can act on
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        return torch.sparse_csr_tensor(start, column, value, shape, check_invariants=False)


def backend_of(backend: Backend, csr: Tensor, x: Tensor) -> Backend:
    """What `auto` comes to for this matrix and this x; any other name is taken at its word."""
    return backend if backend != "auto" else "native" if native.fits(csr, x) else "csr"


def _multiply(backend: Backend, csr: Tensor, x: Tensor, add: Tensor | None, scale: float) -> Tensor:
    if (
        x.dim() != 2
        or x.shape[0] != csr.shape[1]
        or (add is not None and add.shape != (csr.shape[0], x.shape[1]))
    ):
        added = "" if add is None else f" and an addend {list(add.shape)}"
        raise GraphError(
            f"a sparse matrix {list(csr.shape)} cannot be multiplied with {list(x.shape)}{added}"
        )
    if backend == "native":  # taken at its word: what the kernel lacks is refused, not made to fit
        return _multiply_native(csr, x, add, scale)
    return _multiply_in_full(backend, csr, x, add, scale)


@full_precision  # no back-end has a product of two types, and MKL none of bfloat16
def _multiply_in_full(backend: Backend, csr: Tensor, x: Tensor, add: Tensor | None, scale: float) -> Tensor:
    return _BACKENDS[backend_of(backend, csr, x)](csr, x, add, scale)


def _multiply_native(csr: Tensor, x: Tensor, add: Tensor | None, scale: float) -> Tensor:
    if not native.fits(csr, x):
        found = f"{csr.dtype} x {x.dtype} {list(x.shape)} on {x.device}"
        raise GraphError(
            f"back-end 'native' takes float32 or float64 on a CPU with a compiler, found {found}"
        )
    return native.multiply(csr, x, add=add, scale=scale)


def _multiply_csr(csr: Tensor, x: Tensor, add: Tensor | None, scale: float) -> Tensor:
    if add is not None:
        return torch.addmm(add, csr, x, beta=scale, alpha=scale)
    # Into fresh memory with beta = 0: `csr @ x` fills a matrix with zeros and copies it before it multiplies,
    # which costs as much again (2.3 against 1.4 ms at Amazon-Baby's size on one core).
    out = torch.empty(csr.shape[0], x.shape[1], dtype=x.dtype, device=x.device)
    return out.addmm_(csr, x, beta=0, alpha=scale)


def _multiply_scatter(csr: Tensor, x: Tensor, add: Tensor | None, scale: float) -> Tensor:
    try:
        from torch_scatter import segment_csr
    except ImportError as error:
        raise GraphError(
            "back-end 'scatter' needs torch-scatter, which is not installed; pip install 'mmrec[scatter]'"
        ) from error
    messages = x[csr.col_indices().long()] * csr.values()[:, None]
    summed: Tensor = segment_csr(messages, csr.crow_indices().long(), reduce="sum")
    return (summed if add is None else summed + add) * scale


_BACKENDS = {"native": _multiply_native, "csr": _multiply_csr, "scatter": _multiply_scatter}
