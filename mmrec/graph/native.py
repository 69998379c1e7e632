"""The CPU kernel of the sparse product: `spmm.cpp`, compiled on first use and kept.

It is several times faster than torch's own product, and needs a C++ compiler once. Threads are those of
torch: the kernel is not linked to an OpenMP library of its own but takes the one that torch has loaded, as
two pools of threads would fight for the cores.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from features.files import atomic_file
from mmrec.errors import MMRecError

log = logging.getLogger("mmrec")

_SOURCE = Path(__file__).with_name("spmm.cpp")
# Fused multiply-add is what GCC does on its own; what Clang needs to be told.
_FLAGS = ("-O3", "-std=c++17", "-march=native", "-ffp-contract=fast", "-fopenmp", "-fPIC")
_FUNCTIONS = {torch.float32: "multiply_float32", torch.float64: "multiply_float64"}


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel, made if there is none; None where it cannot be made, which the log says once."""
    try:
        return _declared(ctypes.CDLL(str(_compiled())))
    except (OSError, MMRecError, subprocess.SubprocessError) as error:
        reason = " ".join((getattr(error, "stderr", None) or str(error)).split())[:200]
        log.warning(
            "sparse products run with torch's CSR, some times slower: the native kernel could not be made "
            "(%s); install a C++ compiler with OpenMP, such as g++",
            reason,
        )
        return None


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
    found = library()
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
        and library() is not None
    )


def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    for name in _FUNCTIONS.values():
        getattr(found, name).argtypes, getattr(found, name).restype = [ctypes.c_void_p], None
    return found


def _compiled() -> Path:
    """The kernel's file, compiled for this source and this processor."""
    key = hashlib.blake2b(
        repr((_SOURCE.read_bytes(), _FLAGS, _processor())).encode(), digest_size=12
    ).hexdigest()
    path = _folder() / f"spmm-{key}.so"
    if path.is_file():
        return path
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        raise MMRecError("no C++ compiler was found")
    with tempfile.TemporaryDirectory() as folder, atomic_file(path) as made:
        # In two steps: told of OpenMP, the linker would bring the compiler's own library along.
        unit = str(Path(folder, "spmm.o"))
        for command in (
            [compiler, *_FLAGS, "-c", str(_SOURCE), "-o", unit],
            [compiler, "-shared", unit, "-o", str(made)],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    log.info("compiled the kernel of sparse products, once for this processor: %s", path)
    return path


def _folder() -> Path:
    """Where this user's compiled kernels lie; only the user may write there, since they are run."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root, "mmrec")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise MMRecError(f"{folder} cannot be made ({error.strerror}); set XDG_CACHE_HOME") from error
    if not os.access(folder, os.W_OK) or folder.stat().st_uid != os.getuid():
        raise MMRecError(f"{folder} is not this user's own and writable; set XDG_CACHE_HOME")
    return folder


def _processor() -> str:
    """What a compiled kernel depends on: it would crash on a processor that lacks an instruction."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return f"{platform.machine()} {flags}"
