"""Recommendations for every user, in the dataset's own ids."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl
import torch
from torch import Tensor

from features.files import atomic_file
from mmrec.data.dataset import RecData
from mmrec.errors import ConfigError
from mmrec.evaluate.topk import batch_of, final_embeddings, top_items
from mmrec.models.base import Recommender
from mmrec.models.popularity import Popularity
from mmrec.report.progress import track


def recommend(
    model: Recommender,
    data: RecData,
    held_out: Tensor,
    *,
    k: int = 20,
    exclude: Literal["seen", "train"] = "seen",
    batch_size: int | None = None,
) -> pl.DataFrame:
    """The k best items of every user. Users without a training click get the most popular items.

    Args:
        model: trained model.
        data: clicks, ids and titles.
        held_out: valid and test clicks, int64 [2, n]; only used to leave out what a user already knows.
        k: items per user.
        exclude: `seen` (default) leaves out every item the user is known to have clicked; `train` only those
            of the training split, so that the lists can be scored against valid and test.
        batch_size: users scored at once. Default: what suits the device.

    Returns:
        Columns user, item, rank (from 1), score, and title where items have one; by user, then rank.
    """
    check_options(k=k, batch_size=batch_size)
    view = data.train.to(model.device)
    known = (
        torch.cat([view.edge_index, held_out.to(model.device)], dim=1)
        if exclude == "seen"
        else view.edge_index
    )
    warm = torch.bincount(view.edge_index[0], minlength=view.num_users) > 0
    parts = []
    for ranker, users in (
        (model, warm.nonzero().squeeze(1)),
        (Popularity(view), (~warm).nonzero().squeeze(1)),
    ):
        if len(users) == 0:
            continue
        size = batch_of(batch_size, users.device)
        lists = top_items(ranker, final_embeddings(ranker, view), users, known, k, batch_size=size)
        title = "recommending" if ranker is model else "recommending to new users"
        parts += [_flatten(*part) for part in track(lists, title, -(-len(users) // size))]
    user, item, rank, score = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    frame = pl.DataFrame({"user": user, "item": item, "rank": rank, "score": score}).sort("user", "rank")
    ids = [
        pl.Series("user", data.users.decode(frame["user"].to_numpy()).tolist()),
        pl.Series("item", data.items.decode(frame["item"].to_numpy()).tolist()),
    ]
    if data.titles is not None:
        ids.append(pl.Series("title", data.titles)[frame["item"].to_numpy()].alias("title"))
    return frame.with_columns(ids)


def check_options(*, k: int, batch_size: int | None, **_: object) -> None:
    """Refuse options of `recommend` that are out of their range, before a model is trained for it.

    Raises:
        ConfigError: naming the option.
    """
    for name, value in (("k", k), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ConfigError(f"recommend.{name} is {value}, expected at least 1")


def write_recommendations(frame: pl.DataFrame, path: Path) -> None:
    """Write the table as CSV, whole or not at all."""
    with atomic_file(path) as temporary:
        frame.write_csv(temporary)


def _flatten(users: Tensor, items: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rank = torch.arange(1, items.shape[1] + 1, device=items.device).expand_as(items)
    real = scores > -torch.inf  # a user who knows nearly everything has a shorter list
    return users[:, None].expand_as(items)[real], items[real], rank[real], scores[real]
