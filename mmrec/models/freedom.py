"""FREEDOM: LightGCN over pruned clicks, plus a frozen item-item graph."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mmrec.errors import ConfigError
from mmrec.graph.matrices import item_matrix, user_item_matrix
from mmrec.graph.ops import SparseMatrix, smooth, smooth_rows
from mmrec.graph.view import GraphView
from mmrec.losses.ranking import bpr_loss
from mmrec.losses.regularisers import L2
from mmrec.models.base import Batch, Embeddings, Part, Propagated
from mmrec.models.lightgcn import LightGCN
from mmrec.models.modalities import ModalityProjection


class _WithNear(Propagated):
    """Propagated over the clicks; items also over the item graph."""

    item_graph: SparseMatrix
    n_item_layers: int

    @cached_property
    def _all(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        users, items = super()._all
        near = smooth(self.item_graph, self._items(), n_layers=self.n_item_layers, readout="last")
        return users, items + near

    def of(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Those of some users and items."""
        of_users, of_items = super().of(users, items)
        near, _ = smooth_rows(
            self.item_graph, self._items(), items, n_layers=self.n_item_layers, readout="last"
        )
        return of_users, of_items + near

    def _items(self) -> Tensor:
        return torch.split(self.table, [self.num_users, len(self.table) - self.num_users])[1]


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
                losses only. False (default) keeps them frozen, at half the time of an
                epoch (experiments/speed/README.md).
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
        out = _WithNear(user_item_matrix(view), self.table, self.num_users, n_layers=self.n_layers)
        out.item_graph, out.n_item_layers = item_matrix(view), self.n_item_layers
        return out

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`bpr`, and `<modality>` for each modality's BPR, weighted."""
        rows = out.rows(batch)
        losses = {"bpr": bpr_loss(rows.users, rows.items - rows.negatives), **self.penalty(rows, batch)}
        if self.modality_weight:
            for name in view.features:
                difference = self.projection.differences(view, name, batch.items, batch.negatives)
                losses[name] = self.modality_weight * bpr_loss(rows.users, difference)
        return losses
