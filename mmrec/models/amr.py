"""AMR: matrix factorisation with item features that an adversary disturbs."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from mmrec.auxiliary.adversarial_feature import adversarial_view
from mmrec.graph.view import GraphView
from mmrec.losses.ranking import bpr_loss
from mmrec.models.base import Batch, Embeddings, Part, Recommender, embedding_table


class AMR(Recommender):
    """AMR (Tang et al. 2020): score = p_u . (q_i + F c_i), BPR on it and on features moved against it.

    Equations 4 and 7-9. The features c are all modalities side by side, divided by their largest absolute
    value, frozen. Losses are sums over the batch divided by its size, where the authors' code has the sums;
    the adversary's direction is the same. Departures: weights start by Xavier, where the released ones are
    those of a trained VBPR; one Adam, where there are three Adagrads with a rate each.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"features"})

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        epsilon: float = 0.1,
        weight: float = 1.0,
        user_reg: float = 0.1,
        item_reg: float = 1e-3,
    ) -> None:
        """Make the tables and the map.

        Args:
            view: the training view; needs features.
            dim: width D.
            epsilon: length of the adversary's step for each item, in units of the scaled features.
            weight: of the adversarial loss, the paper's lambda.
            user_reg: of the squared users of the batch, per pair, as released.
            item_reg: of the squared combined items of the batch, per pair, as released.
        """
        super().__init__(view)
        self.epsilon, self.weight, self.user_reg, self.item_reg = epsilon, weight, user_reg, item_reg
        self.user_table = embedding_table((view.num_users,), dim, "xavier")
        self.item_table = embedding_table((view.num_items,), dim, "xavier")
        self.map = nn.Linear(sum(rows.shape[1] for rows in view.features.values()), dim, bias=False)
        nn.init.xavier_normal_(self.map.weight)
        largest = max(
            (float(rows.abs().max()) for rows in view.features.values() if rows.numel()), default=1.0
        )
        self.scale = largest or 1.0

    def embed(self, view: GraphView) -> Embeddings:
        """Users, and items with their features."""
        features = torch.cat(list(view.features.values()), dim=1) / self.scale
        return Embeddings(self.user_table, self.item_table + self.map(features))

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`bpr`, `adversarial`, and `l2`."""
        rows = out.rows(batch)
        losses = {"bpr": bpr_loss(rows.users, rows.items - rows.negatives)}
        if self.weight:

            def ranking(moved: GraphView) -> Tensor:
                there = self.embed(moved).rows(batch)
                return bpr_loss(there.users, there.items - there.negatives)

            moved = adversarial_view(view, ranking, self.epsilon * self.scale)
            losses["adversarial"] = self.weight * ranking(moved)
        squares = (rows.items.square() + rows.negatives.square()).sum()
        penalty = self.user_reg * rows.users.square().sum() + self.item_reg * squares
        losses["l2"] = penalty / len(batch.users)
        return losses
