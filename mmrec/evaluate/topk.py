"""The best items of many users, known ones left out."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from mmrec.compiled import compiled
from mmrec.graph.known import Known
from mmrec.graph.view import GraphView
from mmrec.models.base import Embeddings, Recommender

SOURCE = Path(__file__).with_name("topk.cpp")
_BATCH = {"cpu": 256}  # on a CPU the scores of a batch should stay in its cache, which small ones do
_LARGE_BATCH = 4096


@torch.no_grad()
def final_embeddings(model: Recommender, view: GraphView) -> Embeddings:
    """One forward pass in evaluation mode: the vectors that `model.score` takes."""
    was_training = model.training
    model.eval()
    out = model.for_ranking(model.embed(view))
    model.train(was_training)
    return out


@torch.no_grad()
def top_items(
    model: Recommender,
    out: Embeddings,
    users: Tensor,
    known: Tensor | Known,
    k: int,
    *,
    batch_size: int | None = None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Full ranking in batches of users.

    Args:
        model: scores users.
        out: from `final_embeddings`.
        users: int64 [n], each user once.
        known: int64 [2, m] pairs that must not come up, on the device of `out`.
        k: length of the lists; more than there are items gives what there is.
        batch_size: users scored at once, see `batch_of`.

    Yields:
        users [b], their items [b, k] best first, scores [b, k]; a place without an item has score -inf. Which
        of equal scores comes first is left open.
    """
    if isinstance(known, Tensor):
        known = Known(known, model.num_users)
    for batch in torch.split(users, batch_of(batch_size, users.device)):
        scores = model.score(out, batch)
        yield batch, *best_items(scores, batch, known, min(k, scores.shape[1]))


def batch_of(batch_size: int | None, device: torch.device) -> int:
    """Users to score at once: as asked for, else what suits the device."""
    return batch_size or _BATCH.get(device.type, _LARGE_BATCH)


def best_items(scores: Tensor, users: Tensor, known: Known, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row of scores [b, I], which is overwritten where an item is known.

    Returns:
        Items and scores, [b, k] each, best first. On a CPU this is one compiled pass over the scores
        (`topk.cpp`), in which torch's own top-k would take longer than the scoring.
    """
    if scores.device.type == "cpu" and scores.dtype == torch.float32 and (found := compiled(SOURCE)):
        return _best_items(found, scores.contiguous(), users.contiguous(), known, k)
    scores[known.of(users)] = -torch.inf
    best = scores.topk(k, dim=1)
    return best.indices, best.values


def _best_items(
    found: ctypes.CDLL, scores: Tensor, users: Tensor, known: Known, k: int
) -> tuple[Tensor, Tensor]:
    items = torch.empty(len(users), k, dtype=torch.int64)
    best = torch.empty(len(users), k)
    pointers = (
        ctypes.c_void_p(tensor.data_ptr()) for tensor in (users, known.start, known.items, items, best)
    )
    user, start, left_out, at_items, at_best = pointers
    sizes = (ctypes.c_int64(size) for size in (*scores.shape, k))
    rows, columns, length = sizes
    found.best_items(
        *(ctypes.c_void_p(scores.data_ptr()), rows, columns, user, start, left_out),
        *(length, at_items, at_best, torch.get_num_threads()),
    )
    return items, best
