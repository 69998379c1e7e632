"""NGCF: propagation with weights and products."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, normalize

from mmrec.graph.matrices import random_walk_matrix, user_item_matrix
from mmrec.graph.ops import check_layers, one_layer
from mmrec.graph.view import GraphView
from mmrec.losses.ranking import bpr_loss
from mmrec.losses.regularisers import l2
from mmrec.models.base import Batch, Embeddings, Recommender, embedding_table


class NGCF(Recommender):
    """NGCF (Wang et al. 2019): E' = LeakyReLU((A + I) E W1 + (A E * E) W2), eq. 7; layers are concatenated.

    Each layer's output is normalised where it is read out. Message dropout is the augmentation `MessageDrop`
    under `augment.step`. L2 is on the propagated rows of the batch.
    """

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        n_layers: int = 3,
        reg: float = 1e-5,
        form: Literal["paper", "released"] = "paper",
        init: Literal["normal", "xavier"] = "xavier",
    ) -> None:
        """Make the table and two maps per layer.

        Args:
            view: the training view.
            dim: width D of each layer; the read-out is (n_layers + 1) D wide.
            n_layers: layers, which are concatenated.
            reg: strength of the squared L2 penalty on the batch's propagated rows.
            form: `paper` is the formula above with symmetric A; `released` is the authors' code: S = D^-1(A +
                I) E, E' = LeakyReLU(S W1 + b1) + LeakyReLU((E * S) W2 + b2).
            init: of the table; `xavier` as the authors have it.
        """
        super().__init__(view)
        self.n_layers, self.reg, self.form = check_layers(n_layers), reg, form
        self.table = embedding_table((view.num_users, view.num_items), dim, init)
        self.sums = nn.ModuleList(nn.Linear(dim, dim) for _ in range(n_layers))
        self.products = nn.ModuleList(nn.Linear(dim, dim) for _ in range(n_layers))
        for linear in (*self.sums, *self.products):
            nn.init.xavier_uniform_(linear.get_parameter("weight"))
            nn.init.zeros_(linear.get_parameter("bias"))

    def embed(self, view: GraphView) -> Embeddings:
        """All layers side by side."""
        layer: Tensor = self.table
        matrix, parts = (user_item_matrix if self.form == "paper" else random_walk_matrix)(view), [layer]
        for number in range(1, self.n_layers + 1):
            before, layer = layer, self._layer(number, one_layer(matrix, layer, number), layer)
            given = layer
            if matrix.low_rank is not None:
                left, right = matrix.low_rank
                given = self._layer(number, left @ (right.T @ before), before)
            for change in view.inside:
                given = change(given, number)
            parts.append(normalize(given, dim=1))
            if matrix.low_rank is None:  # else, as in `layer_outputs`, the next starts from the clicks' own
                layer = given
        users, items = torch.split(torch.cat(parts, dim=1), [self.num_users, self.num_items])
        return Embeddings(users, items)

    def _layer(self, number: int, near: Tensor, before: Tensor) -> Tensor:
        """Layer `number`, of the one before and what the neighbours send."""
        sums, products = self.sums[number - 1], self.products[number - 1]
        if self.form == "paper":
            return leaky_relu(sums(near + before) + products(near * before), 0.2)
        return leaky_relu(sums(near), 0.2) + leaky_relu(products(before * near), 0.2)

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`bpr` and `l2`, both on the propagated rows."""
        rows = out.rows(batch)
        penalty = self.reg * l2([rows.users, rows.items, rows.negatives])
        return {"bpr": bpr_loss(rows.users, rows.items - rows.negatives), "l2": penalty}
