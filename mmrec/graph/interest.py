"""Users who like what looks alike."""

from __future__ import annotations

import torch
from torch import Tensor

from features.files import content_hash
from mmrec.graph.cache import Arrays, cached
from mmrec.graph.knn import chosen_way, knn
from mmrec.graph.matrices import click_matrix
from mmrec.graph.ops import propagate
from mmrec.graph.view import GraphView


def history_features(view: GraphView, name: str) -> tuple[Tensor, Tensor]:
    """Mean feature of the items a user clicked that have one: [U, F]; and who has any: bool [U].

    Differentiable in the features, which an adversary may move.
    """
    rows, present = view.features[name], view.present[name]
    known = present.to(rows.dtype)[:, None]
    total = propagate(click_matrix(view), torch.cat([rows * known, known], dim=1))
    return total[:, :-1] / total[:, -1:].clamp(min=torch.finfo(rows.dtype).tiny), total[:, -1] > 0


def user_interest_graph(view: GraphView, name: str, *, k: int = 10) -> tuple[Tensor, Tensor]:
    """The k users whose histories look most alike in a modality (REARM, Ma et al. 2025): cosine / k.

    Args:
        view: clicks and features; kept on disk under the hash of the histories, where the view keeps graphs.
        name: modality.
        k: neighbours per user, the user included.

    Returns:
        int64 [2, n], receiver and neighbour, nearest first; float32 [n]. On the CPU.
    """
    features, present = history_features(view, name)

    def build() -> Arrays:
        index, cosine = knn(features.cpu(), present.cpu(), k=k, title=f"user graph, {name}")
        return {"index": index.numpy(), "cosine": cosine.numpy()}

    way = chosen_way(features, present)
    key = f"interest-{content_hash(features.cpu().numpy(), present.cpu().numpy(), [k, way])}"
    found = cached(view.cache_dir, key, build)
    return torch.from_numpy(found["index"]), torch.from_numpy(found["cosine"]) / k
