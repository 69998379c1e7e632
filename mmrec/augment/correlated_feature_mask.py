"""Masking columns that say the same together."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from features.files import content_hash
from mmrec.augment.base import Augmentation
from mmrec.errors import GraphError
from mmrec.graph.cache import cached
from mmrec.graph.view import GraphView


class CorrelatedFeatureMask(Augmentation):
    """Mask a random block of columns with those it shares most information with (Yao et al. 2021, sec. 3.3).

    Each modality is cut into `groups` blocks of columns, each block's rows into `clusters` by k-means; mutual
    information is that of cluster numbers in the clean view. Of k blocks, a random one and its floor(k / 2)
    closest, or all but one if that is fewer, are set to zero in one view, the others in the second, so that
    neither view can guess what the other hides. (Paper: Self-supervised Learning for Large-scale Item
    Recommendations, arXiv:2007.12865.)
    """

    def __init__(self, groups: int = 4, clusters: int = 16) -> None:
        """Set the grain.

        Args:
            groups: blocks of columns per modality.
            clusters: values that a block is rounded to.

        Raises:
            GraphError: if one is not at least 2.
        """
        if groups < 2 or clusters < 2:
            found = f"groups {groups} and clusters {clusters}"
            raise GraphError(f"CorrelatedFeatureMask has {found}, expected at least 2 of each")
        self.groups, self.clusters = groups, clusters

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view with a random block and its closest masked."""
        return self.pair(view, rng)[0]

    def pair_of(
        self, first: GraphView, second: GraphView, rng: torch.Generator
    ) -> tuple[GraphView, GraphView]:
        """The first so, and the second with all the other blocks masked.

        Raises:
            GraphError: if the features are a single column, of which one view would hide all.
        """
        blocks = _blocks(first, self.groups)

        def information(clean: GraphView) -> np.ndarray:
            return _information(clean, blocks, self.clusters)

        if not blocks:
            return first, second
        if len(blocks) < 2:
            found = f"no features but '{blocks[0][0]}', which is one column"
            raise GraphError(
                f"CorrelatedFeatureMask finds {found}, expected at least 2; take it out of augment"
            )
        shared = first.freeze(f"correlated {self.groups} {self.clusters}", information)
        seed = int(torch.randint(len(blocks), (), generator=rng))
        most = min(len(blocks) // 2, len(blocks) - 2)  # beside the seed, so that one block stays
        masked = {seed, *np.argsort(-shared[seed], kind="stable")[:most].tolist()}
        return _masked(first, blocks, masked), _masked(second, blocks, set(range(len(blocks))) - masked)


def mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """Sum over values of p(a, b) log( p(a, b) / (p(a) p(b)) ), in nats, of two int [n]."""
    joint = np.zeros((first.max(initial=0) + 1, second.max(initial=0) + 1))
    np.add.at(joint, (first, second), 1 / max(len(first), 1))
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / apart[seen])).sum())


Blocks = list[tuple[str, int, int]]


def _blocks(view: GraphView, groups: int) -> Blocks:
    """(modality, first column, end) of each block."""
    blocks: Blocks = []
    for name, rows in view.features.items():
        edges = np.linspace(0, rows.shape[1], min(groups, rows.shape[1]) + 1).astype(int).tolist()
        blocks += [(name, start, stop) for start, stop in pairwise(edges)]
    return blocks


def _information(view: GraphView, blocks: Blocks, clusters: int) -> np.ndarray:
    """Mutual information of blocks [k, k], -1 with itself; kept on disk under the hash of the features."""
    columns = [view.features[name][:, start:stop].cpu() for name, start, stop in blocks]
    key = f"information-{content_hash(clusters, *(part.numpy() for part in columns))}"
    return cached(view.cache_dir, key, lambda: {"information": _compare(columns, clusters)})["information"]


def _compare(columns: list[Tensor], clusters: int) -> np.ndarray:
    numbers = [_cluster(part, clusters) for part in columns]
    information = np.full((len(numbers), len(numbers)), -1.0)
    for one in range(len(numbers)):
        for other in range(one):
            value = mutual_information(numbers[one], numbers[other])
            information[one, other] = information[other, one] = value
    return information


def _cluster(rows: Tensor, clusters: int) -> np.ndarray:
    from sklearn.cluster import MiniBatchKMeans

    values = rows.double().numpy()
    count = min(clusters, len(np.unique(values, axis=0)))
    made: Any = MiniBatchKMeans(n_clusters=count, random_state=0, n_init=3, batch_size=4096)
    return np.asarray(made.fit_predict(values), dtype=np.int64)


def _masked(view: GraphView, blocks: Blocks, masked: set[int]) -> GraphView:
    features = {name: rows.clone() for name, rows in view.features.items()}
    for number in masked:
        name, start, stop = blocks[number]
        features[name][:, start:stop] = 0
    return view.changed(features=features)
