"""Who buys together, mixed into who looks alike."""

from __future__ import annotations

import torch
from torch import Tensor

from mmrec.augment.base import Augmentation, check_rate
from mmrec.errors import GraphError
from mmrec.graph.cooccurrence import item_partners
from mmrec.graph.item_graph import fuse
from mmrec.graph.view import GraphView, item_links


class ItemGraphMix(Augmentation):
    """(1 - share) of the item graph plus `share` of item co-occurrence (SIGE, arXiv:2508.06154).

    Co-occurrence is that of the clean view, however many clicks were dropped before; nothing is drawn.
    Evaluation sees the item graph without it: `graph.weights: {..., clicks: 0.3}` mixes it in for good.
    """

    def __init__(self, share: float = 0.3, k: int = 10) -> None:
        """Set the strength.

        Args:
            share: weight of co-occurrence, in [0, 1).
            k: strongest partners per item.

        Raises:
            GraphError: if share is out of its range, or k is not at least 1.
        """
        if k < 1:
            raise GraphError(f"ItemGraphMix.k is {k}, expected at least 1")
        self.share, self.k = check_rate("ItemGraphMix.share", share), k

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view with the mixed item graph."""
        index, weight = item_links(view, "ItemGraphMix")
        if self.share == 0:
            return view

        # The last mix alone: a share that is Scheduled is another in each epoch, each as large as the graph.
        last: dict[tuple[float, int], tuple[Tensor, Tensor]] = view.derive("links: last mix", lambda _: {})
        asked = self.share, self.k
        if asked not in last:
            together, count = item_partners(view, self.k)
            parts = {"links": (index, weight), "clicks": (together.to(index.device), count.to(index.device))}
            mixed = fuse(parts, {"links": 1 - self.share, "clicks": self.share}, view.num_items)
            last.clear()
            last[asked] = mixed
        new, new_weight = last[asked]
        return view.changed(item_edge_index=new, item_edge_weight=new_weight)
