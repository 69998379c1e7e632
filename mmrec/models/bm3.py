"""BM3: bootstrapped multimodal recommendation without negatives."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from mmrec.errors import ConfigError
from mmrec.graph.matrices import user_item_matrix
from mmrec.graph.ops import smooth
from mmrec.graph.view import GraphView
from mmrec.losses.contrastive import cosine_distance
from mmrec.losses.regularisers import l2
from mmrec.models.base import Batch, Embeddings, Part, Recommender, embedding_table
from mmrec.models.modalities import ModalityProjection
from mmrec.train.streams import keep


class BM3(Recommender):
    """BM3 (Zhou et al. 2023): an embedding, predicted, has to point where another one, dropped out, points.

    Users are the mean of LightGCN's layers; items the same plus their layer 0. With C(a, b) = 1 - cos(P a,
    drop(b)): C(u, i) + C(i, u) + modality_weight * sum over modalities m of [C(m, i) + C(m, m)] + reg * (|U|
    + |I|) / I. There are no negatives. Scores are dot products of predicted vectors P u and P i.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"features"})

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        n_layers: int = 1,
        dropout: float = 0.5,
        reg: float = 0.1,
        modality_weight: float = 2.0,
        trainable_features: bool = False,
        init: Literal["normal", "xavier"] = "xavier",
    ) -> None:
        """Make the table, one predictor for all, and a projection of each modality.

        Args:
            view: the training view; needs features.
            dim: width D of the embeddings.
            n_layers: layers over the user-item graph.
            dropout: share of target entries set to zero; the paper's grid is 0.3 and 0.5.
            reg: strength of the un-squared L2 penalty on the whole tables of users and items; grid 0.1 and
                0.01.
            modality_weight: weight of the modality losses.
            trainable_features: tune the raw features too, as the released code does. False (default) keeps
                them frozen, at half the time of an epoch (experiments/speed/README.md).
            init: `xavier` is xavier-uniform (the authors' code); `normal` is N(0, 0.1^2).

        Raises:
            ConfigError: if dropout is not in [0, 1).
        """
        super().__init__(view)
        if not 0 <= dropout < 1:
            raise ConfigError(f"BM3.dropout is {dropout}, expected at least 0 and below 1")
        self.n_layers, self.dropout, self.reg, self.modality_weight = n_layers, dropout, reg, modality_weight
        self.table = embedding_table((view.num_users, view.num_items), dim, init)
        self.predictor = nn.Linear(dim, dim)
        nn.init.xavier_normal_(self.predictor.weight)
        self.projection = ModalityProjection(
            view, dim, trainable_features=trainable_features, xavier_normal=True
        )

    def embed(self, view: GraphView) -> Embeddings:
        """Mean of layers; items with their layer 0 added once more."""
        sizes = [self.num_users, self.num_items]
        out = smooth(user_item_matrix(view), self.table, n_layers=self.n_layers)
        users, items = torch.split(out, sizes)
        return Embeddings(users, items + torch.split(self.table, sizes)[1])

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`users` and `items` (reconstruction), `<modality>` (alignment, across and within), `l2`."""
        users, items = out.users.index_select(0, batch.users), out.items.index_select(0, batch.items)
        user_target, item_target = self._target(users, batch.rng), self._target(items, batch.rng)
        losses = {
            "users": cosine_distance(self.predictor(users), item_target),
            "items": cosine_distance(self.predictor(items), user_target),
        }
        for name in view.features:
            rows = self.projection.rows(view, name, batch.items)
            predicted = self.predictor(rows)
            across = cosine_distance(predicted, item_target)
            within = cosine_distance(predicted, self._target(rows, batch.rng))
            losses[name] = self.modality_weight * (across + within)
        if self.reg:
            losses["l2"] = self.reg * l2([out.users, out.items], "unsquared")
        return losses

    def for_ranking(self, out: Embeddings) -> Embeddings:
        """Predicted vectors, as the authors' code ranks with."""
        return Embeddings(self.predictor(out.users), self.predictor(out.items))

    def _target(self, online: Tensor, rng: torch.Generator) -> Tensor:
        kept = keep(online.shape, 1 - self.dropout, rng)
        return online.detach() * kept.to(online.dtype).div_(1 - self.dropout)
