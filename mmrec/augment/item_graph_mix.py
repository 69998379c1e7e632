"""Who buys together, mixed into who looks alike."""

from __future__ import annotations

import torch

from mmrec.augment.base import Augmentation, check_rate
from mmrec.graph.cooccurrence import cooccurrence_graph
from mmrec.graph.item_graph import fuse
from mmrec.graph.view import GraphView, item_links


class ItemGraphMix(Augmentation):
    """(1 - share) of the item graph plus `share` of item co-occurrence (SIGE, arXiv:2508.06154).

    Co-occurrence is that of the training clicks; nothing is drawn. Evaluation sees the item graph without it:
    `graph.weights: {..., clicks: 0.3}` mixes it in for good.
    """

    def __init__(self, share: float = 0.3, k: int = 10) -> None:
        """Set the strength.

        Args:
            share: weight of co-occurrence, in [0, 1).
            k: strongest partners per item.
        """
        self.share, self.k = check_rate("ItemGraphMix.share", share), k

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view with the mixed item graph."""
        index, weight = item_links(view, "ItemGraphMix")
        if self.share == 0:
            return view
        key = f"mixed: {self.share} {self.k}"
        if key not in view.derived:
            name, device = f"item co-occurrence {self.k}", index.device
            if name not in view.frozen:
                view.frozen[name] = cooccurrence_graph(view, "items", k=self.k)
            together, count = (part.to(device) for part in view.frozen[name])
            parts = {"links": (index, weight), "clicks": (together, count)}
            shares = {"links": 1 - self.share, "clicks": self.share}
            view.derived[key] = fuse(parts, shares, view.num_items)
        index, weight = view.derived[key]
        return view.changed(item_edge_index=index, item_edge_weight=weight)
