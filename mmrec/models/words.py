"""Features as words: which of a few centres an item is near."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmrec.graph.view import GraphView


def item_words(view: GraphView, words: int, per_item: int) -> Tensor:
    """1 where a word belongs to an item, [I, W]: its nearest k-means centres in each modality, by cosine.

    Args:
        view: features; an item that lacks a modality has no words of it.
        words: centres per modality; fewer where there are fewer different items.
        per_item: nearest centres that are an item's words.
    """
    from sklearn.cluster import MiniBatchKMeans

    parts = []
    for name, rows in view.features.items():
        known = view.present[name].cpu() & rows.cpu().any(dim=1)
        unit = normalize(rows.cpu().double(), dim=1)
        some = unit[known].numpy()
        count = min(words, len(np.unique(some, axis=0)))
        part = torch.zeros(view.num_items, count)
        if count:
            made = MiniBatchKMeans(n_clusters=count, random_state=0, n_init=3, batch_size=4096).fit(some)
            centres = normalize(torch.from_numpy(made.cluster_centers_).double(), dim=1)
            near = (unit[known] @ centres.T).topk(min(per_item, count), dim=1).indices
            part[known.nonzero(), near] = 1
        parts.append(part)
    return torch.cat(parts, dim=1)
