"""LATTICE: an item graph that is learned from projected features."""

from __future__ import annotations

from typing import ClassVar, Literal
from weakref import ref

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmrec.errors import ConfigError
from mmrec.graph.learned import gather_messages, learned_neighbours, symmetric
from mmrec.graph.matrices import random_walk_matrix, user_item_matrix
from mmrec.graph.neighbours import modality_neighbours
from mmrec.graph.ops import SparseMatrix, check_layers, smooth, sparse_matrix
from mmrec.graph.view import GraphView
from mmrec.losses.ranking import bpr_loss
from mmrec.losses.regularisers import l2
from mmrec.models.base import Batch, Embeddings, Part, Recommender, embedding_table
from mmrec.models.modalities import ModalityProjection

Edges = tuple[Tensor, Tensor]


class LATTICE(Recommender):
    """LATTICE (Zhang et al. 2021): LightGCN's items plus n(h), h = S^L E0 over a learned item graph S.

    S = keep S0 + (1 - keep) Lap(sum_m a_m S_m): kNN graphs of the raw features, frozen, and of the projected
    ones, learned; a = softmax of trained weights (eq. 3-10). The learned graph is made with gradients in the
    first step of each epoch and reused without in the others, as released; evaluation makes it anew. A view
    with features of its own has a graph of its own, made when it is first seen: in each step, where such
    views are drawn for each step.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"features"})

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        n_ui_layers: int = 2,
        n_item_layers: int = 1,
        k: int = 10,
        keep: float = 0.9,
        reg: float = 1e-5,
        clicks: Literal["symmetric", "random_walk"] = "symmetric",
        trainable_features: bool = False,
        init: Literal["normal", "xavier"] = "xavier",
    ) -> None:
        """Make the table, the projections and the modalities' weights.

        Args:
            view: the training view; needs features.
            dim: width D.
            n_ui_layers: layers over the clicks, read out as their mean.
            n_item_layers: layers over the item graph, of which the last is read out.
            k: neighbours per item, itself included.
            keep: share of the frozen graph, in [0, 1], the paper's lambda; 1 learns nothing.
            reg: strength of the squared L2 penalty on the batch's propagated rows.
            clicks: normalisation of the clicks: `symmetric` as in the paper and MMRec, `random_walk` with
                loops as the authors' code has it.
            trainable_features: tune the raw features too, as released.
            init: of the table.

        Raises:
            ConfigError: if keep is not in [0, 1].
        """
        super().__init__(view)
        if not 0 <= keep <= 1:
            raise ConfigError(f"LATTICE.keep is {keep}, expected 0 to 1")
        self.n_ui_layers, self.n_item_layers = check_layers(n_ui_layers), check_layers(n_item_layers)
        self.k, self.keep, self.reg, self.clicks = k, keep, reg, clicks
        self.table = embedding_table((view.num_users, view.num_items), dim, init)
        self.projection = ModalityProjection(view, dim, trainable_features=trainable_features)
        self.shares = nn.Parameter(torch.zeros(len(view.features)))
        self._learned: list[
            tuple[tuple[ref[Tensor], ...], SparseMatrix]
        ] = []  # by features that it is made of
        for name in view.features:
            self._frozen(view, name)

    def start_epoch(self, epoch: int) -> None:
        """The graph is to be learned anew."""
        self._learned = []

    def embed(self, view: GraphView) -> Embeddings:
        """With a graph of now, differentiable."""
        return self._along(view, self._graph(view))

    def embed_in_training(self, view: GraphView, rng: torch.Generator) -> Embeddings:
        """With this epoch's graph of the view's features."""
        rows = [] if self.projection.tables or self.keep == 1 else [*view.features.values()]
        self._learned = [one for one in self._learned if all(known() is not None for known in one[0])]
        for known, matrix in self._learned:
            if all(one() is other for one, other in zip(known, rows, strict=True)):
                near = smooth(matrix, self._items(), n_layers=self.n_item_layers, readout="last")
                return self._read_out(view, near)
        index, weight = self._graph(view)
        shape = (self.num_items, self.num_items)
        matrix = sparse_matrix(index[0], index[1], weight.detach(), shape, backend=view.backend)
        self._learned.append((tuple(ref(one) for one in rows), matrix))
        return self._along(view, (index, weight))

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`bpr` and `l2`, both on the propagated rows."""
        rows = out.rows(batch)
        penalty = self.reg * l2([rows.users, rows.items, rows.negatives])
        return {"bpr": bpr_loss(rows.users, rows.items - rows.negatives), "l2": penalty}

    def _along(self, view: GraphView, edges: Edges) -> Embeddings:
        """Over a graph with gradients."""
        near = self._items()
        for _ in range(self.n_item_layers):
            near = gather_messages(*edges, near)
        return self._read_out(view, near)

    def _items(self) -> Tensor:
        return torch.split(self.table, [self.num_users, self.num_items])[1]

    def _read_out(self, view: GraphView, near: Tensor) -> Embeddings:
        matrix = random_walk_matrix(view) if self.clicks == "random_walk" else user_item_matrix(view)
        out = smooth(matrix, self.table, n_layers=self.n_ui_layers)
        users, items = torch.split(out, [self.num_users, self.num_items])
        return Embeddings(users, items + normalize(near, dim=1))

    def _graph(self, view: GraphView) -> Edges:
        """S as coordinates, its parts side by side; those at the same place are added by the product."""
        shares, frozen, learned = torch.softmax(self.shares, dim=0), [], []
        for share, (name, rows) in zip(shares, view.features.items(), strict=True):
            index, weight = self._frozen(view, name)
            frozen.append((index, share * self.keep * weight))
            if self.keep < 1:
                projected = self.projection.rows(view, name, torch.arange(len(rows), device=rows.device))
                index, cosine = learned_neighbours(projected, view.present[name], k=self.k)
                learned.append((index, share * cosine))
        if learned:
            index, weight = _side_by_side(learned)
            frozen.append((index, (1 - self.keep) * symmetric(index, weight, self.num_items)))
        return _side_by_side(frozen)

    def _frozen(self, view: GraphView, name: str) -> Edges:
        def build(clean: GraphView) -> Edges:
            index, cosine = modality_neighbours(clean, name, k=self.k)
            return index, symmetric(index, cosine.clamp(min=0), self.num_items)

        index, weight = view.freeze(f"weighted kNN {name} {self.k}", build)
        return index.to(self.table.device), weight.to(self.table)


def _side_by_side(parts: list[Edges]) -> Edges:
    return torch.cat([index for index, _ in parts], dim=1), torch.cat([weight for _, weight in parts])
