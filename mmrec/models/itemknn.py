"""ItemKNN: items like those a user clicked, by clicks or by content."""

from __future__ import annotations

from typing import ClassVar

import torch

from mmrec.errors import ConfigError
from mmrec.graph.cooccurrence import cooccurrence_graph
from mmrec.graph.matrices import item_matrix
from mmrec.graph.ops import sparse_matrix
from mmrec.graph.view import GraphView
from mmrec.models.base import Part
from mmrec.models.histories import FromHistories, Rule


class ItemKNN(FromHistories):
    """Score of item i = sum of sim(i, j) over clicked j among i's k most similar (Deshpande, Karypis 2004).

    Similarity is the shrunk cosine of clicks, c_ij / (sqrt(n_i n_j) + shrink). The k are those of the item to
    be scored; the paper keeps those of each clicked item. Nothing is trained.
    """

    def __init__(
        self, view: GraphView, *, k: int | None = 100, shrink: float = 0.0, normalise_users: bool = False
    ) -> None:
        """Set the options.

        Args:
            view: the training view.
            k: similar items looked at for each item; null for all.
            shrink: added to the cosine's denominator, against pairs that share few users.
            normalise_users: rows of the clicks have length one before similarities are taken, as in the
                paper: n_i and c_ij are sums over users of 1 / (number of their clicks). It matters where a
                few users click most.

        Raises:
            ConfigError: if k is not at least 1 or shrink is below 0.
        """
        super().__init__(view)
        if (k is not None and k < 1) or shrink < 0:
            raise ConfigError(f"ItemKNN has k {k} and shrink {shrink}, expected at least 1 and 0")
        self.k, self.shrink, self.normalise_users = k, shrink, normalise_users

    def rule(self, view: GraphView) -> Rule:
        """Product with the top k of the similarities."""
        index, count = cooccurrence_graph(view, "items", k=None, weights="count", share=self.normalise_users)
        row, col = index
        users, items = torch.unique(view.edge_index.cpu(), dim=1)
        weight = torch.ones(len(users))
        if self.normalise_users:
            weight /= torch.bincount(users)[users]
        root = torch.bincount(items, weights=weight, minlength=self.num_items).float().sqrt()
        cosine = count / (root[row] * root[col] + self.shrink)
        order = torch.argsort(cosine, descending=True, stable=True)
        order = order[torch.argsort(row[order], stable=True)]  # by item, most similar first
        size = torch.bincount(row, minlength=self.num_items)
        rank = torch.arange(len(row)) - (size.cumsum(0) - size)[row[order]]
        kept = order if self.k is None else order[rank < self.k]
        shape = (self.num_items, self.num_items)
        device = view.edge_index.device
        row, col, cosine = (part[kept].to(device) for part in (row, col, cosine))
        similar = sparse_matrix(row, col, cosine, shape, backend=view.backend)
        return lambda history: similar.multiply(history.T.contiguous()).T


class ContentKNN(FromHistories):
    """ItemKNN by content: similarities are the item graph's links, so that new items are found too.

    `graph.k` and `graph.weighting: cosine` say what the links are. Nothing is trained.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"item_graph"})

    def __init__(self, view: GraphView) -> None:
        """Remember the sizes; there are no options."""
        super().__init__(view)

    def rule(self, view: GraphView) -> Rule:
        """Product with the item graph."""
        similar = item_matrix(view)
        return lambda history: similar.multiply(history.T.contiguous()).T
