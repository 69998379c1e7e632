"""FREEDOM: LightGCN over pruned clicks, plus a frozen item-item graph."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from torch import Tensor

from mmrec.errors import ConfigError
from mmrec.graph.ops import item_matrix, smooth
from mmrec.graph.view import GraphView
from mmrec.losses.ranking import bpr
from mmrec.losses.regularisers import L2
from mmrec.models.base import Batch, Embeddings, Part
from mmrec.models.lightgcn import LightGCN
from mmrec.models.modalities import ModalityProjection


class FREEDOM(LightGCN):
    """FREEDOM (Zhou and Shen 2023): LightGCN plus h = S^L E0 over the frozen item graph S (eq. 8-10).

    Loss: BPR on the sum, plus `modality_weight` times BPR of the user against each modality's projected
    features. Its pruning of clicks is the augmentation `DegreeDrop`, once per epoch: list it under
    `augment.epoch`.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"item_graph"})

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        n_ui_layers: int = 2,
        n_item_layers: int = 1,
        modality_weight: float = 1e-3,
        trainable_features: bool = False,
        reg: float = 0.0,
        l2: L2 = "squared",
        init: Literal["normal", "xavier"] = "xavier",
    ) -> None:
        """Make one table of users and items, and a projection of each modality.

        Args:
            view: the training view; needs an item graph, and features unless modality_weight is 0.
            dim: width D of the embeddings.
            n_ui_layers: layers over the user-item graph, read out as their mean.
            n_item_layers: layers over the item graph, of which the last is read out.
            modality_weight: weight of the modality losses; the paper's grid is 0, 1e-5, 1e-4, 1e-3.
            trainable_features: tune the raw features too, as the released code does; they reach the modality
                losses only. False (default) keeps them frozen, many times cheaper.
            reg: strength of an L2 penalty; the paper has none.
            l2: kind of that penalty.
            init: `xavier` is xavier-uniform (the authors' code); `normal` is N(0, 0.1^2).

        Raises:
            ConfigError: if modality_weight is above 0 and the view has no features.
        """
        super().__init__(view, dim=dim, n_layers=n_ui_layers, reg=reg, l2=l2, init=init)
        self.n_item_layers, self.modality_weight = n_item_layers, modality_weight
        if modality_weight and not view.features:
            raise ConfigError("FREEDOM has a modality_weight and no features; set it to 0 or give features")
        used = view if modality_weight else replace(view, features={}, present={})
        # No bias, unlike the released code: BPR subtracts two projected rows, so it would get no gradient.
        self.projection = ModalityProjection(used, dim, trainable_features=trainable_features, bias=False)

    def embed(self, view: GraphView) -> Embeddings:
        """LightGCN's users; its items plus what the item graph brings."""
        out = super().embed(view)
        items = self.table[self.num_users :]
        near = smooth(item_matrix(view), items, n_layers=self.n_item_layers, readout="last")
        return Embeddings(out.users, out.items + near)

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`bpr`, and `<modality>` for each modality's BPR, weighted."""
        losses = super().losses(out, batch, view)
        if self.modality_weight:
            users = out.users[batch.users]
            for name in view.features:
                positive = (users * self.projection.rows(view, name, batch.items)).sum(dim=1)
                negative = (users * self.projection.rows(view, name, batch.negatives)).sum(dim=1)
                losses[name] = self.modality_weight * bpr(positive, negative)
        return losses
