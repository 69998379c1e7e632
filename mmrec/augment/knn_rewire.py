"""Links of the item graph moved one step further."""

from __future__ import annotations

import torch

from mmrec.augment.base import Augmentation, check_rate
from mmrec.graph.view import GraphView, item_links


class KNNRewire(Augmentation):
    """Each link of the item graph, with probability `drop`, goes to a neighbour's neighbour instead.

    Item i's link to j then leads to a random neighbour of j and keeps its weight, so that rows sum to what
    they did. It is the item graph's counterpart of edge dropout: what looks alike at second sight counts too.
    """

    def __init__(self, drop: float = 0.1) -> None:
        """Set the rate.

        Args:
            drop: share of links to rewire, in [0, 1).
        """
        self.drop = check_rate("KNNRewire.drop", drop)

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view with rewired links, in their order."""
        index, _ = item_links(view, "KNNRewire")
        if self.drop == 0:
            return view
        row, col = index.cpu()
        order = torch.argsort(row, stable=True)
        count = torch.bincount(row, minlength=view.num_items)
        start = count.cumsum(0) - count
        place = start[col] + (torch.rand(len(col), generator=rng) * count[col]).long()
        moved = torch.rand(len(col), generator=rng) < self.drop
        moved &= count[col] > 0  # a neighbour without links leads nowhere
        place = place.clamp_(max=max(len(col) - 1, 0))
        new = torch.where(moved, col[order][place], col) if len(col) else col
        return view.changed(item_edge_index=torch.stack([row, new]).to(index.device))
