"""Features as words: which of a few centres an item is near."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from features.files import content_hash
from mmrec.graph.cache import Arrays, cached
from mmrec.graph.view import GraphView


def item_words(view: GraphView, words: int, per_item: int) -> Tensor:
    """1 where a word belongs to an item, [I, W]: its nearest k-means centres in each modality, by cosine.

    Args:
        view: features; an item that lacks a modality has no words of it. Kept on disk under their hash, where
            the view keeps graphs.
        words: centres per modality; fewer where there are fewer different items.
        per_item: nearest centres that are an item's words.
    """
    parts = []
    for name, rows in view.features.items():
        features, present = rows.cpu(), view.present[name].cpu()
        key = f"words-{content_hash(features.numpy(), present.numpy(), words, per_item)}"

        def build(features: Tensor = features, present: Tensor = present) -> Arrays:
            return {"words": _words(features, present, words, per_item).numpy()}

        parts.append(torch.from_numpy(cached(view.cache_dir, key, build)["words"]).float())
    return torch.cat(parts, dim=1)


def _words(features: Tensor, present: Tensor, words: int, per_item: int) -> Tensor:
    """Whether a word of one modality belongs to an item, bool [I, W]."""
    from sklearn.cluster import MiniBatchKMeans

    known = present & features.any(dim=1)
    unit = normalize(features[known].double(), dim=1)
    count = min(words, len(np.unique(unit.numpy(), axis=0)))
    belongs = torch.zeros(len(features), count, dtype=torch.bool)
    if count:
        made = MiniBatchKMeans(n_clusters=count, random_state=0, n_init=3, batch_size=4096).fit(unit.numpy())
        centres = normalize(torch.from_numpy(made.cluster_centers_).double(), dim=1)
        near = (unit @ centres.T).topk(min(per_item, count), dim=1).indices
        belongs[known.nonzero(), near] = True
    return belongs
