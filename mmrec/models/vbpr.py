"""VBPR: matrix factorisation with item features."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from mmrec.graph.view import GraphView
from mmrec.losses.ranking import bpr_loss
from mmrec.losses.regularisers import L2, l2
from mmrec.models.base import Batch, Embeddings, Part, Recommender, embedding_table


class _ItemsWithFeatures(Embeddings):
    """Items of which only those asked for are projected."""

    def __init__(self, model: VBPR, view: GraphView) -> None:
        self.model, self.view = model, view

    @property
    def users(self) -> Tensor:
        return self.model.user_table

    @property
    def items(self) -> Tensor:
        return self.model.item_rows(self.view, torch.arange(self.model.num_items, device=self.model.device))

    def of(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        distinct, place = torch.unique(items, return_inverse=True)
        rows = self.model.item_rows(self.view, distinct)
        return self.users.index_select(0, users), rows.index_select(0, place)


class VBPR(Recommender):
    """VBPR (He and McAuley 2016) as the MMRec toolbox has it: score = p_u . [q_i | W f_i + b].

    f are all modalities side by side, frozen; half of the user's vector is for the item's own, half for its
    features. There are no bias terms.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"features"})

    def __init__(self, view: GraphView, *, dim: int = 64, reg: float = 1e-2, l2: L2 = "unsquared") -> None:
        """Make the tables and the map.

        Args:
            view: the training view; needs features.
            dim: width D of an item's own vector and of its features' each; users are 2 D wide.
            reg: strength of the L2 penalty on the batch's rows; MMRec's grid is 2, 1, 0.1, ..., 1e-5.
            l2: `unsquared` as in the MMRec toolbox, or `squared`.
        """
        super().__init__(view)
        self.reg, self.l2 = reg, l2
        self.user_table = embedding_table((view.num_users,), 2 * dim, "xavier")
        self.item_table = embedding_table((view.num_items,), dim, "xavier")
        self.map = nn.Linear(sum(rows.shape[1] for rows in view.features.values()), dim)
        nn.init.xavier_normal_(self.map.weight)
        nn.init.zeros_(self.map.bias)

    def item_rows(self, view: GraphView, items: Tensor) -> Tensor:
        """Vectors of items [n], own and projected, [n, 2 D]."""
        features = [rows.index_select(0, items) for rows in view.features.values()]
        return torch.cat(
            [self.item_table.index_select(0, items), self.map(torch.cat(features, dim=1))], dim=1
        )

    def embed(self, view: GraphView) -> Embeddings:
        """Users as they are; items are made when they are looked at."""
        return _ItemsWithFeatures(self, view)

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`bpr` and `l2`."""
        rows = out.rows(batch)
        losses = {"bpr": bpr_loss(rows.users, rows.items - rows.negatives)}
        if self.reg:
            losses["l2"] = self.reg * l2([rows.users, rows.items, rows.negatives], self.l2)
        return losses

    def for_ranking(self, out: Embeddings) -> Embeddings:
        """All items, projected once."""
        return Embeddings(out.users, out.items)
