"""The nearest neighbours of a modality of a view, searched once and kept on disk."""

from __future__ import annotations

import torch
from torch import Tensor

from features.files import content_hash
from mmrec.graph.cache import Arrays, cached
from mmrec.graph.knn import Search, chosen_way, knn
from mmrec.graph.view import GraphView


def modality_neighbours(
    view: GraphView,
    name: str,
    *,
    k: int = 10,
    search: Search = "auto",
    exact_up_to: int = 200_000,
    memory_mb: int = 1024,
) -> tuple[Tensor, Tensor]:
    """The k items of largest cosine in a modality, itself first: what item graphs are made of.

    Args:
        view: features, who has any, and where neighbours are kept.
        name: modality.
        k: neighbours per item, itself included.
        search: see `mmrec.graph.knn.knn`; so are the others.
        exact_up_to: items.
        memory_mb: MiB for blocks of similarities; they are no part of the key, and of `search` and
            `exact_up_to` the key has what they come to, which depends on faiss.

    Returns:
        int64 [2, n], item and neighbour, nearest first; float32 [n] cosines. On the CPU.
    """
    features, present = view.features[name], view.present[name]

    def build() -> Arrays:
        index, cosine = knn(
            *(features, present),
            k=k,
            search=search,
            exact_up_to=exact_up_to,
            memory_mb=memory_mb,
            title=f"item graph, {name}",
        )
        row, col = index.cpu().numpy()
        return {"row": row, "col": col, "cosine": cosine.cpu().numpy()}

    way = chosen_way(features, present, search, exact_up_to)
    key = f"knn-{content_hash(features.cpu().numpy(), present.cpu().numpy(), [k, way])}"
    found = cached(view.cache_dir, key, build)
    index = torch.stack([torch.from_numpy(found[part]) for part in ("row", "col")])
    return index, torch.from_numpy(found["cosine"])
