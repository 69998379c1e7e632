"""The item graph as a hypergraph."""

from __future__ import annotations

import torch

from mmrec.augment.base import Augmentation, check_rate
from mmrec.graph.hypergraph import hypergraph_expansion
from mmrec.graph.view import GraphView, item_links


class HyperedgeView(Augmentation):
    """Items that share neighbours are linked: D^-1/2 H H' D^-1/2 (MMHCL, Guo et al. 2025), H the links.

    Each hyperedge (all items that have the same neighbour) is left out with probability `drop`.
    """

    def __init__(self, drop: float = 0.1) -> None:
        """Set the rate.

        Args:
            drop: share of hyperedges to leave out, in [0, 1).
        """
        self.drop = check_rate("HyperedgeView.drop", drop)

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view with the expanded item graph."""
        index, _ = item_links(view, "HyperedgeView")
        keep = torch.rand(view.num_items, generator=rng) >= self.drop
        edges, weight = hypergraph_expansion(index.cpu()[:, keep[index[1].cpu()]], view.num_items)
        return view.changed(item_edge_index=edges.to(index.device), item_edge_weight=weight.to(index.device))
