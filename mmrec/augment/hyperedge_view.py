"""The item graph as a hypergraph."""

from __future__ import annotations

import torch

from mmrec.augment.base import Augmentation, check_rate
from mmrec.graph.hypergraph import check_expansion, hypergraph_expansion, item_hyperedges
from mmrec.graph.view import GraphView


class HyperedgeView(Augmentation):
    """Items that share hyperedges are linked: D^-1/2 H H' D^-1/2 (MMHCL, Guo et al. 2025).

    A hyperedge is all items that have the same item among their nearest in one modality, H = [H_v | H_t |
    ...]. Each is left out with probability `drop`; as every draw is another graph, none is kept on disk.
    """

    def __init__(self, drop: float = 0.1) -> None:
        """Set the rate.

        Args:
            drop: share of hyperedges to leave out, in [0, 1).
        """
        self.drop = check_rate("HyperedgeView.drop", drop)

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view with the expanded item graph.

        Raises:
            GraphError: without an item graph, or with hyperedges too large (`check_expansion`).
        """
        members = item_hyperedges(view, "HyperedgeView")
        distinct, edge, sizes = torch.unique(members[1], return_inverse=True, return_counts=True)
        check_expansion(sizes, view.num_items, "HyperedgeView")  # of all: no draw later on is refused
        keep = torch.rand(len(distinct), generator=rng) >= self.drop
        index, weight = hypergraph_expansion(members.cpu()[:, keep[edge.cpu()]], view.num_items)
        index, weight = index.to(members.device), weight.to(members.device)
        return view.changed(item_edge_index=index, item_edge_weight=weight)
