"""What an object holds on to, however deep: for tests that something was let go."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmrec.graph.ops import SparseMatrix
from mmrec.graph.view import GraphView

Place = tuple[str, Any]


def kept_of_view(holder: object, view: GraphView, *, learned_items: bool = False) -> list[str]:
    """Where `holder` keeps a view, its tensors or what was derived of them, a copy of its clicks, or a graph.

    Args:
        holder: such as a model.
        view: which it should have let go.
        learned_items: allow sparse matrices of items by items whose numbers are not the view's.
    """
    memory = {one for _, value in held(view) if isinstance(value, Tensor) for one in _memory(value)}
    clicks = (view.edge_index, *view.edge_index)
    square = (view.num_items, view.num_items)

    def is_kept(value: Any) -> bool:
        if isinstance(value, SparseMatrix):
            return not (learned_items and value.csr.shape == square)
        if not isinstance(value, Tensor):
            return isinstance(value, GraphView)
        if value.layout != torch.strided and not (learned_items and value.shape == square):
            return True
        alike = [
            one for one in clicks if one.numel() and (one.shape, one.dtype) == (value.shape, value.dtype)
        ]
        return any(torch.equal(value, one) for one in alike) or bool(_memory(value) & memory)

    return [path for path, value in held(holder) if is_kept(value)]


def held(holder: object) -> Iterator[Place]:
    """Everything that is reached from `holder` by strong references, itself first, with the path to it."""
    seen: dict[int, Any] = {}  # with the objects: the number of one that is gone may be given to another
    waiting: list[Place] = [("", holder)]
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen or isinstance(value, type | ModuleType | str | bytes | int | float):
            continue
        seen[id(value)] = value
        yield path, value
        waiting.extend((f"{path}.{name}".lstrip("."), part) for name, part in _parts(value))


def _parts(value: Any) -> Iterator[Place]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield str(key)[:40], part
            yield f"key {str(key)[:40]}", key
    elif isinstance(value, np.ndarray):
        if value.dtype.kind in "iuf":
            yield "numbers", torch.from_numpy(np.ascontiguousarray(value))
    elif isinstance(value, Collection) and not isinstance(value, Tensor):
        yield from ((str(number), part) for number, part in enumerate(value))
    elif isinstance(value, FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            yield name, cell.cell_contents
        yield from (("defaults", value.__defaults__), ("defaults", value.__kwdefaults__))
    elif isinstance(value, MethodType):
        yield "self", value.__self__
    elif isinstance(value, partial):
        yield from (("func", value.func), ("args", value.args), ("keywords", value.keywords))
    yield from getattr(value, "__dict__", {}).items()


def _memory(tensor: Tensor) -> set[int]:
    """Addresses of the memory behind a tensor, whichever part of it the tensor shows."""
    parts = [tensor]
    if tensor.layout == torch.sparse_csr:
        parts = [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    elif tensor.layout == torch.sparse_coo:
        parts = [tensor._indices(), tensor._values()]
    return {part.untyped_storage().data_ptr() for part in parts} - {0}  # 0 is that of empty ones
