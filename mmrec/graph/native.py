"""The CPU kernel of the sparse product, `spmm.cpp`: two to five times faster than torch's own."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from mmrec.compiled import compiled

SOURCE = Path(__file__).with_name("spmm.cpp")
_FUNCTIONS = {torch.float32: "multiply_float32", torch.float64: "multiply_float64"}


class _Task(ctypes.Structure):
    """`Task` of spmm.cpp."""

    _fields_ = [
        ("rows", ctypes.c_int64),
        ("start", ctypes.c_void_p),
        ("column", ctypes.c_void_p),
        ("value", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("row", ctypes.c_void_p),
        ("x", ctypes.c_void_p),
        ("place", ctypes.c_void_p),
        ("add", ctypes.c_void_p),
        ("add_place", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("dim", ctypes.c_int64),
        ("scale", ctypes.c_double),
        ("threads", ctypes.c_int32),
    ]


def multiply(
    csr: Tensor,
    x: Tensor,
    *,
    add: Tensor | None = None,
    scale: float = 1.0,
    rows: Tensor | None = None,
    place: Tensor | None = None,
    add_place: Tensor | None = None,
) -> Tensor:
    """What `fits`: scale * (add + csr @ x) with x [C, D], and with look-ups some rows of it.

    Args:
        csr: [R, C].
        x: [C, D], or [n, D] with `place`.
        add: [R, D], or [n, D] with `add_place`; None adds nothing.
        scale: a factor.
        rows: int64, the rows of the product that are wanted; None for all.
        place: int32 [C], the row of x that stands for each column.
        add_place: int32 [R], the row of `add` for each row of the product.

    Returns:
        [R, D], or [len(rows), D].
    """
    found = compiled(SOURCE)
    assert found is not None, "ask `fits` first"
    count = csr.shape[0] if rows is None else len(rows)
    x = x.contiguous()
    out = torch.empty(count, x.shape[1], dtype=x.dtype)
    if not out.numel():  # a look-up of nothing has no address, which would stand for all rows
        return out
    # Held until the kernel is done: what `contiguous` makes must not be freed before.
    given = [csr.crow_indices(), csr.col_indices(), csr.values(), rows, x, place, add, add_place, out]
    given = [None if tensor is None else tensor.contiguous() for tensor in given]
    start, column, value, row, at_x, at, at_add, add_at, at_out = (
        None if tensor is None else tensor.data_ptr() for tensor in given
    )
    task = _Task(
        *(csr.shape[0], start, column, value, count, row, at_x, at, at_add, add_at, at_out),
        *(x.shape[1], scale, torch.get_num_threads()),
    )
    getattr(found, _FUNCTIONS[x.dtype])(ctypes.byref(task))
    return out


def fits(csr: Tensor, x: Tensor) -> bool:
    """Whether the kernel can be had and takes these: on the CPU, 32-bit indices, float32 or float64 alike."""
    return (
        x.device.type == "cpu"
        and x.dtype in _FUNCTIONS
        and csr.dtype == x.dtype
        and csr.crow_indices().dtype == torch.int32
        and compiled(SOURCE) is not None
    )
