"""MMHCL: users and items as hypergraphs, contrasted with the clicks."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmrec.graph.cooccurrence import cooccurrence_graph
from mmrec.graph.hypergraph import item_hyperedges, sharing
from mmrec.graph.matrices import frozen_matrix, user_item_matrix
from mmrec.graph.ops import check_layers, smooth
from mmrec.graph.view import GraphView
from mmrec.losses.contrastive import check_temperature, info_nce
from mmrec.losses.ranking import bpr_loss
from mmrec.losses.regularisers import l2
from mmrec.models.base import Batch, Embeddings, Part, Recommender, embedding_table


class _WithSides(Embeddings):
    """Final embeddings, and what the two hypergraphs alone give: [U, D] and [I, D]."""

    sides: tuple[Tensor, Tensor]


class MMHCL(Recommender):
    """MMHCL (Guo et al. 2025): u + n(u'), i + n(i'), with u' = U2U^L u0' and i' = I2I^L i0' beside LightGCN.

    U2U are users by shared clicks, rows normalised; I2I is D^-1/2 H H' D^-1/2 with H = [H_v | H_t | ...], who
    is among whose nearest in each modality of the item graph. InfoNCE holds the final vectors to those of the
    hypergraphs, within views too (B9b). Features only make the item graph, so that ready graphs will do.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"item_graph"})

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        n_layers: int = 2,
        n_user_layers: int = 2,
        n_item_layers: int = 2,
        user_weight: float = 0.03,
        item_weight: float = 0.07,
        temperature: float = 0.6,
        reg: float = 1e-3,
        user_k: int | None = None,
        over: Literal["batch", "all"] = "batch",
    ) -> None:
        """Make the tables and freeze the hypergraphs.

        Args:
            view: the training view; needs an item graph.
            dim: width D.
            n_layers: layers over the clicks, read out as their mean.
            n_user_layers: layers over U2U, of which the last is read out.
            n_item_layers: layers over I2I, likewise.
            user_weight: of the users' InfoNCE.
            item_weight: of the items' InfoNCE.
            temperature: of both.
            reg: strength of the squared L2 penalty on the batch's final rows.
            user_k: strongest partners per user; null for all, as released.
            over: InfoNCE over the batch's distinct nodes, or over `all` in every step, as released, at a cost
                that grows with the square of users and items.

        Raises:
            ConfigError: for a temperature that is not above 0.
        """
        super().__init__(view)
        self.n_layers, self.n_user_layers = check_layers(n_layers), check_layers(n_user_layers)
        self.n_item_layers, self.reg = check_layers(n_item_layers), reg
        self.temperature = check_temperature("MMHCL.temperature", temperature)
        self.user_weight, self.item_weight, self.user_k, self.over = user_weight, item_weight, user_k, over
        self.table = embedding_table((view.num_users, view.num_items), dim, "xavier")
        self.sides = embedding_table((view.num_users, view.num_items), dim, "xavier")
        item_hyperedges(view, "MMHCL")

    def embed(self, view: GraphView) -> Embeddings:
        """LightGCN's mean plus the hypergraphs' last layers, normalised."""
        sizes = [self.num_users, self.num_items]
        out = smooth(user_item_matrix(view), self.table, n_layers=self.n_layers)
        users, items = torch.split(out, sizes)
        user_side, item_side = torch.split(self.sides, sizes)
        user_side = self._spread_users(view, user_side)
        item_side = sharing(view, "items", "symmetric", item_side.dtype).spread(item_side, self.n_item_layers)
        made = _WithSides(users + normalize(user_side, dim=1), items + normalize(item_side, dim=1))
        made.sides = user_side, item_side
        return made

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`bpr`, `users`, `items` (InfoNCE) and `l2`."""
        rows = out.rows(batch)
        assert isinstance(out, _WithSides)
        finals, weights = (out.users, out.items), (self.user_weight, self.item_weight)
        losses = {"bpr": bpr_loss(rows.users, rows.items - rows.negatives)}
        nodes = (batch.users, batch.items)
        for name, some, final, side, weight in zip(
            ("users", "items"), nodes, finals, out.sides, weights, strict=True
        ):
            if self.over == "batch":
                distinct = torch.unique(some)
                final, side = final.index_select(0, distinct), side.index_select(0, distinct)
            losses[name] = weight * info_nce(final, side, self.temperature, among_anchors=True)
        losses["l2"] = self.reg * l2([rows.users, rows.items, rows.negatives])
        return losses

    def _spread_users(self, view: GraphView, x: Tensor) -> Tensor:
        if self.user_k is None:
            return sharing(view, "users", "mean", x.dtype).spread(x, self.n_user_layers)

        def strongest(clean: GraphView) -> tuple[Tensor, Tensor]:
            return cooccurrence_graph(clean, "users", k=self.user_k, weights="mean")

        named = f"mean of user partners {self.user_k}"
        graph = frozen_matrix(view, named, self.num_users, strongest, dtype=x.dtype)
        return smooth(graph, x, n_layers=self.n_user_layers, readout="last")
