"""Approximate nearest neighbours by faiss, for catalogues where comparing all pairs takes hours."""

from __future__ import annotations

import importlib.util
import logging
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmrec.report.progress import track

RECALL = 0.95  # share of the true neighbours to find
SAMPLE = 512  # items whose true neighbours are looked up to know it
_BLOCK = 16_384  # rows normalised, added or asked for at once
_TRAINED_ON = 64  # rows per cell that the cells are learned from

log = logging.getLogger("mmrec")


def have_faiss() -> bool:
    """Whether faiss is installed."""
    return importlib.util.find_spec("faiss") is not None


def approximate_neighbours(features: Tensor, ids: Tensor, k: int, title: str) -> tuple[Tensor, Tensor]:
    """Inverted file of cells (Jegou et al. 2011) with half-precision rows; only near cells are searched.

    How many cells (`nprobe`) is found by trial: by steps of a half, as few as find `RECALL` of the true
    neighbours of a sample, which is logged.

    Args:
        features: float [I, F].
        ids: int64 [P], the rows to compare; none of them zero.
        k: at most P.
        title: what the progress bar says.

    Returns:
        int64 [P, k] positions in `ids`, itself first; float32 [P, k] cosines, of rows rounded to half
        precision. Items for which fewer than k were found link to themselves in the other places, with a
        cosine of -1.
    """
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells of each library that it tries
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    count, width = len(ids), features.shape[1]
    cells = max(1, min(count // _TRAINED_ON, int(4 * math.sqrt(count))))
    index: Any = faiss.index_factory(width, f"IVF{cells},SQfp16", faiss.METRIC_INNER_PRODUCT)
    draw = torch.Generator().manual_seed(0)
    some = torch.randperm(count, generator=draw)[: cells * _TRAINED_ON].sort().values
    log.info("%s: learning %s cells of %s items", title, f"{cells:,}", f"{count:,}")
    index.train(_unit(features, ids[some]))
    for start in track(range(0, count, _BLOCK), f"{title}, adding"):
        index.add(_unit(features, ids[start : start + _BLOCK]))
    recall = _choose_nprobe(index, features, ids, k, draw)
    log.info(
        "%s: approximate, recall@%d %.3f of %d items against the exact search, with %d of %d cells",
        *(title, k, recall, min(SAMPLE, count), index.nprobe, cells),
    )
    neighbours = torch.empty(count, k, dtype=torch.int64)
    cosines = torch.empty(count, k)
    for start in track(range(0, count, _BLOCK), title):
        rows = torch.arange(start, min(start + _BLOCK, count))
        value, found = index.search(_unit(features, ids[rows]), k)
        neighbours[rows], cosines[rows] = _itself_first(
            rows, torch.from_numpy(found), torch.from_numpy(value)
        )
    return neighbours, cosines.clamp_(-1, 1)


def _choose_nprobe(index: Any, features: Tensor, ids: Tensor, k: int, draw: torch.Generator) -> float:
    """Set the fewest cells, by steps of a half, that reach `RECALL` on a sample; gives the recall."""
    sample = torch.randperm(len(ids), generator=draw)[:SAMPLE]
    asked = torch.from_numpy(_unit(features, ids[sample]))
    best, true = torch.full((len(sample), k), -torch.inf), torch.zeros(len(sample), k, dtype=torch.int64)
    for start in range(0, len(ids), _BLOCK):
        value, place = (asked @ torch.from_numpy(_unit(features, ids[start : start + _BLOCK])).T).topk(
            min(k, len(ids[start : start + _BLOCK])), dim=1
        )
        both, number = torch.cat([best, value], dim=1), torch.cat([true, place + start], dim=1)
        kept = both.topk(k, dim=1)
        best, true = kept.values, number.gather(1, kept.indices)
    index.nprobe, recall = 4, 0.0
    while True:
        found = torch.from_numpy(index.search(asked.numpy(), k)[1])
        recall = float((found[:, :, None] == true[:, None, :]).any(dim=2).float().mean())
        if recall >= RECALL or index.nprobe >= index.nlist:
            return recall
        index.nprobe = min(index.nprobe * 3 // 2, index.nlist)


def _unit(features: Tensor, ids: Tensor) -> np.ndarray:
    return np.ascontiguousarray(normalize(features[ids].float(), dim=1).numpy())


def _itself_first(rows: Tensor, found: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Lists [b, k] that begin with the item; where it was not found, the last of the others goes."""
    value = value.masked_fill(found == rows[:, None], 2.0)
    lacking = ~(found == rows[:, None]).any(dim=1)
    found[lacking, -1], value[lacking, -1] = rows[lacking], 2.0
    value, order = value.sort(dim=1, descending=True, stable=True)
    found = found.gather(1, order)
    none = found < 0
    return torch.where(none, rows[:, None], found), torch.where(none, value.new_tensor(-1.0), value)
