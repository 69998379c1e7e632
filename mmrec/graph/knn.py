"""Nearest neighbours by cosine: exact in bounded memory, or approximate for catalogues too large for that."""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmrec.compiled import compiled
from mmrec.errors import GraphError
from mmrec.graph.approximate import approximate_neighbours, have_faiss
from mmrec.precision import full_precision
from mmrec.report.progress import track

Search = Literal["auto", "exact", "approximate"]

SOURCE = Path(__file__).with_name("knn.cpp")
_EDGE = 64, 4096  # rows of a block, at least and at most: larger ones make products no faster

log = logging.getLogger("mmrec")


def knn(
    features: Tensor,
    present: Tensor,
    *,
    k: int = 10,
    search: Search = "auto",
    exact_up_to: int = 200_000,
    memory_mb: int = 1024,
    title: str = "kNN",
) -> tuple[Tensor, Tensor]:
    """The k items of largest cosine for every item that has features, itself first.

    An item without features has no neighbours and is nobody's neighbour. The same goes for a zero row (a text
    of unknown words, say): it has no direction, and chance would pick its neighbours.

    Args:
        features: float [I, F].
        present: bool [I].
        k: neighbours per item, fewer where fewer items have features.
        search: `exact` compares every pair; `approximate` asks faiss, and logs the share of the true
            neighbours that it finds (recall@k of a sample); `auto` is exact up to `exact_up_to` items.
        exact_up_to: see `search`; 200,000 items of 512 columns take minutes, ten times as many hours.
        memory_mb: MiB that blocks of similarities may take.
        title: what the progress bar says.

    Returns:
        int64 [2, P * k]: row 0 the item, row 1 its neighbour, nearest first; and float32 [P * k] cosines, for
        the P items with features, in order.

    Raises:
        GraphError: for k below 1, memory_mb below 0, or `approximate` without faiss.
    """
    if k < 1:
        raise GraphError(f"graph.k is {k}, expected at least 1")
    if memory_mb < 0:
        raise GraphError(f"graph.memory_mb is {memory_mb}, expected at least 0")
    ids = _comparable(features, present).nonzero().squeeze(1)
    if len(ids) == 0:
        return torch.empty(2, 0, dtype=torch.int64, device=features.device), features.new_empty(0)
    k = min(k, len(ids))
    if _way(search, len(ids), exact_up_to) == "exact":
        if search == "auto" and len(ids) > exact_up_to:
            log.warning(
                "%s: %s items are compared pair by pair, as faiss is missing: pip install faiss-cpu for a "
                "search that is approximate and much faster above graph.exact_up_to %s",
                *(title, f"{len(ids):,}", f"{exact_up_to:,}"),
            )
        neighbours, cosines = exact_neighbours(features, ids, k, memory_mb, title)
    elif not have_faiss():
        raise GraphError("graph.search is 'approximate', which needs faiss: pip install faiss-cpu")
    else:
        neighbours, cosines = approximate_neighbours(features, ids, k, title)
    return torch.stack([ids.repeat_interleave(k), ids[neighbours.flatten()]]), cosines.flatten()


def chosen_way(
    features: Tensor, present: Tensor, search: Search = "auto", exact_up_to: int = 200_000
) -> Literal["exact", "approximate"]:
    """What a `search` of `knn` comes to for these items on this machine, by which its result differs."""
    return _way(search, int(_comparable(features, present).sum()), exact_up_to)


def _way(search: Search, count: int, exact_up_to: int) -> Literal["exact", "approximate"]:
    if search != "auto":
        return search
    return "exact" if count <= exact_up_to or not have_faiss() else "approximate"


def _comparable(features: Tensor, present: Tensor) -> Tensor:
    return present & features.any(dim=1)


def exact_neighbours(
    features: Tensor, ids: Tensor, k: int, memory_mb: int, title: str
) -> tuple[Tensor, Tensor]:
    """All pairs, in square blocks; a block's similarities serve its rows and its columns, half the work.

    Neither the items x items matrix nor a normalised copy of the features is ever held.

    Args:
        features: float [I, F].
        ids: int64 [P], the rows to compare; none of them zero.
        k: at most P.
        memory_mb: MiB for a block of similarities and what it is made of.
        title: what the progress bar says.

    Returns:
        int64 [P, k] positions in `ids`, itself first, of equal cosines the smaller position; float32 [P, k].
    """
    lists = _Lists(len(ids), k, features.device)
    blocks = [*_blocks(len(ids), features.shape[1], memory_mb)]
    pairs = [(first, second) for at, first in enumerate(blocks) for second in blocks[at:]]
    unit, done = torch.empty(0), -1
    for (start, stop), (other, end) in track(pairs, title):
        if start != done:
            unit, done = normalize(features[ids[start:stop]].float(), dim=1), start
        if other == start:
            tile = _products(unit, unit)
            tile.fill_diagonal_(2.0)  # itself first, whatever rounding says of its copies
        else:
            tile = _products(unit, normalize(features[ids[other:end]].float(), dim=1))
        lists.merge(tile, start, other)
        if other != start:
            lists.merge(tile, other, start, columns=True)
    return lists.numbers.long(), lists.best.clamp_(-1, 1)


@full_precision  # LATTICE looks for neighbours within a step, and the compiled lists read float32
def _products(rows: Tensor, others: Tensor) -> Tensor:
    return rows @ others.T


class _Lists:
    """The best k so far of each item. Of equal values the smaller number stays, if they come in order."""

    def __init__(self, count: int, k: int, device: torch.device) -> None:
        self.best = torch.full((count, k), -torch.inf, device=device)
        self.numbers = torch.zeros(count, k, dtype=torch.int32, device=device)

    def merge(self, tile: Tensor, start: int, first: int, *, columns: bool = False) -> None:
        """Offer a tile's columns, numbered from `first`, to its rows, items from `start`; or the reverse."""
        rows = tile.shape[1] if columns else tile.shape[0]
        best, numbers = self.best[start : start + rows], self.numbers[start : start + rows]
        if tile.device.type == "cpu" and (found := compiled(SOURCE)):
            sizes = (ctypes.c_int64(size) for size in (*tile.shape, tile.stride(0), first, best.shape[1]))
            at_tile, at_best, at_numbers = (
                ctypes.c_void_p(part.data_ptr()) for part in (tile, best, numbers)
            )
            merge = found.merge_columns if columns else found.merge_rows
            merge(at_tile, *sizes, at_best, at_numbers, torch.get_num_threads())
            return
        if columns:
            tile = tile.T
        value, place = torch.sort(tile, dim=1, descending=True, stable=True)
        value = torch.cat([best, value[:, : best.shape[1]]], dim=1)
        number = torch.cat([numbers, (place[:, : best.shape[1]] + first).int()], dim=1)
        value, place = torch.sort(value, dim=1, descending=True, stable=True)
        best.copy_(value[:, : best.shape[1]])
        numbers.copy_(number.gather(1, place[:, : best.shape[1]]))


def _blocks(rows: int, width: int, memory_mb: int) -> Iterator[tuple[int, int]]:
    """Blocks of e rows: e x e similarities and two times e x width numbers fit into the memory."""
    edge = int(math.sqrt(width**2 + memory_mb * 2**18) - width)
    size = min(max(edge, _EDGE[0]), _EDGE[1])
    for start in range(0, rows, size):
        yield start, min(start + size, rows)
