"""The best items of many users, known ones left out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mmrec.graph.view import GraphView
from mmrec.models.base import Embeddings, Recommender


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
    model: Recommender, out: Embeddings, users: Tensor, known: Tensor, k: int, *, batch_size: int = 2048
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Full ranking in batches of users.

    Args:
        model: scores users.
        out: from `final_embeddings`.
        users: int64 [n], each user once.
        known: int64 [2, m] pairs that must not come up, on the device of `out`.
        k: length of the lists; more than there are items gives what there is.
        batch_size: users scored at once.

    Yields:
        users [b], their items [b, k] best first, scores [b, k]; a place without an item has score -inf.
    """
    known = known[:, torch.argsort(known[0], stable=True)]
    start = torch.zeros(model.num_users + 1, dtype=torch.int64, device=known.device)
    torch.cumsum(torch.bincount(known[0], minlength=model.num_users), dim=0, out=start[1:])
    for batch in torch.split(users, batch_size):
        scores = model.score(out, batch)
        count = start[batch + 1] - start[batch]
        row = torch.repeat_interleave(torch.arange(len(batch), device=batch.device), count)
        first = torch.repeat_interleave(start[batch] - (count.cumsum(0) - count), count)
        column = known[1, first + torch.arange(len(row), device=batch.device)]
        scores[row, column] = -torch.inf
        best = scores.topk(min(k, scores.shape[1]), dim=1)
        yield batch, best.indices, best.values
