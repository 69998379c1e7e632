"""DCCF: disentangled intents, and edges that are masked by how alike their ends are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmrec.graph.matrices import user_item_matrix
from mmrec.graph.ops import check_layers, one_layer
from mmrec.graph.pairs import click_pairs, pair_dots, pair_sums
from mmrec.graph.view import GraphView
from mmrec.losses.contrastive import check_temperature, info_nce
from mmrec.losses.ranking import bpr_loss
from mmrec.models.base import Batch, Embeddings, Recommender, embedding_table


class _WithViews(Embeddings):
    """Embeddings with each layer's four views: clicks, intents, and what both masks let through."""

    views: list[tuple[Tensor, ...]]


class DCCF(Recommender):
    """DCCF (Ren et al. 2023): E' = g + t + m_g + m_t + E, eq. 4-11; the layers are summed.

    g = A E are the clicks, t = softmax(E C) C' the intents C of users and of items; m_X = sum over neighbours
    of a E with a = (cos(X_head, X_tail) + 1) / 2 of each click, made to sum to one per node. InfoNCE holds t,
    m_g and m_t to g in each layer. The table starts xavier-uniform, of the variance of the released
    xavier-normal.
    """

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 32,
        n_layers: int = 2,
        n_intents: int = 128,
        weight: float = 0.1,
        temperature: float = 1.0,
        reg: float = 2.5e-5,
        intent_reg: float = 5e-3,
    ) -> None:
        """Make the table and the intents.

        Args:
            view: the training view.
            dim: width D; the authors' is 32.
            n_layers: layers, which are summed.
            n_intents: K, of users and of items each.
            weight: of InfoNCE.
            temperature: of InfoNCE.
            reg: of the squared rows of layer 0, summed over the batch and not divided by it, as released.
            intent_reg: of the squared intents.

        Raises:
            ConfigError: for a temperature that is not above 0.
        """
        super().__init__(view)
        self.n_layers, self.weight = check_layers(n_layers), weight
        self.temperature = check_temperature("DCCF.temperature", temperature)
        self.reg, self.intent_reg = reg, intent_reg
        self.table = embedding_table((view.num_users, view.num_items), dim, "xavier")
        self.user_intents = nn.Parameter(nn.init.xavier_normal_(torch.empty(dim, n_intents)))
        self.item_intents = nn.Parameter(nn.init.xavier_normal_(torch.empty(dim, n_intents)))

    def embed(self, view: GraphView) -> Embeddings:
        """Sum of the layers, with their views."""
        matrix, sizes = user_item_matrix(view), [self.num_users, self.num_items]
        layer: Tensor = self.table
        total, views = layer, []
        for number in range(1, self.n_layers + 1):
            graph = view.layers[(number - 1) % len(view.layers)] if view.layers else view
            before, (layer, seen) = layer, self._layer(graph, one_layer(matrix, layer, number), layer)
            given = layer
            if matrix.low_rank is not None:
                left, right = matrix.low_rank
                given, seen = self._layer(graph, left @ (right.T @ before), before)
            for change in view.inside:
                given = change(given, number)
            if matrix.low_rank is None:  # else, as in `layer_outputs`, the next starts from the clicks' own
                layer = given
            views.append(seen)
            total = total + given
        out = _WithViews(*torch.split(total, sizes))
        out.views = views
        return out

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`bpr`, `contrast` and `l2`."""
        rows = out.rows(batch)
        losses = {"bpr": bpr_loss(rows.users, rows.items - rows.negatives)}
        nodes = [torch.unique(batch.users), torch.unique(batch.items) + self.num_users]
        contrast = [
            info_nce(layer[0][some], other[some], self.temperature)
            for layer in (out.views if isinstance(out, _WithViews) else [])
            for other in layer[1:]
            for some in nodes
        ]
        if contrast:
            losses["contrast"] = self.weight * torch.stack(contrast).sum()
        squares = self.table.index_select(0, batch.nodes(self.num_users)).square().sum()
        intents = self.user_intents.square().sum() + self.item_intents.square().sum()
        losses["l2"] = self.reg * squares + self.intent_reg * intents
        return losses

    def _layer(self, view: GraphView, clicks: Tensor, before: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The layer after `before`, of what the clicks give, and its four views."""
        users, items = torch.split(before, [self.num_users, self.num_items])
        intents = torch.cat([_intents(users, self.user_intents), _intents(items, self.item_intents)])
        masked = [self._masked(view, one, before) for one in (clicks, intents)]
        return clicks + intents + masked[0] + masked[1] + before, (clicks, intents, *masked)

    def _masked(self, view: GraphView, one: Tensor, layer: Tensor) -> Tensor:
        """Sum over clicks of a E, per head node, with a from the cosines of `one`."""
        pairs = click_pairs(view)
        share = (pair_dots(pairs, normalize(one, dim=1)) + 1) / 2
        total = share.new_zeros(len(layer)).index_add(0, pairs.first, share).index_add(0, pairs.second, share)
        return pair_sums(pairs, share, layer) / total.clamp(min=1e-8)[:, None]


def _intents(rows: Tensor, intents: Tensor) -> Tensor:
    return torch.softmax(rows @ intents, dim=1) @ intents.T
