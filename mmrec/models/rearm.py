"""REARM: relations of users and of items, attention within and across modalities, a meta network."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmrec.attention import ScalarAttention
from mmrec.errors import ConfigError
from mmrec.graph.cooccurrence import Kind, cooccurrence_graph
from mmrec.graph.interest import history_features, user_interest_graph
from mmrec.graph.matrices import frozen_matrix, user_item_matrix
from mmrec.graph.neighbours import modality_neighbours
from mmrec.graph.ops import SparseMatrix, check_layers, smooth
from mmrec.graph.view import GraphView
from mmrec.losses.contrastive import check_temperature, decorrelation, info_nce
from mmrec.losses.ranking import bpr_loss
from mmrec.models.base import Batch, Embeddings, Part, Recommender, embedding_table


class _WithModalities(Embeddings):
    """Final vectors, and both modalities after propagation [V, D] each."""

    modalities: tuple[Tensor, Tensor]


class REARM(Recommender):
    """REARM (Ma et al. 2025): ids and two modalities over relation graphs, attention, clicks, a meta network.

    Items and users are first smoothed over S = c co-occurrence + (1 - c) likeness, then items' modalities
    attend to themselves and to each other, all is propagated over the clicks, and a low-rank map that the
    modalities write for each node brings what they share into its id. Final vectors are [v | t | shared],
    each with the id added. Losses: BPR, InfoNCE between modalities, and their decorrelation. Weights decay by
    `train.weight_decay` with `train.decoupled: true`: 5e-4 on Baby, .05 on Sports, 1e-5 on Clothing.

    Departures from the released code: negatives are drawn from what is not clicked in training alone, where
    it also leaves out clicks of valid and test, which leaks them. Features and users' means of them are
    frozen; it trains both tables. A node with fewer than k partners keeps those it has; there its row is
    filled up with repeats at random, or with the most active nodes. The first layer of the meta network is
    trained; there no gradient passes it (`untrained_meta`). Queries, keys and values start in U(-1, 1), there
    in U(-1.22, 1.22).
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"features"})

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        n_layers: int = 4,
        n_relation_layers: int = 1,
        rank: int = 3,
        attention_drop: float = 0.4,
        modality_drop: float = 0.6,
        user_first: float = 0.2,
        item_first: float = 0.0,
        user_share: float = 0.4,
        item_share: float = 0.2,
        user_k: int = 40,
        item_k: int = 10,
        temperature: float = 0.6,
        contrast_weight: float = 5e-6,
        decorrelation_weight: float = 5e-5,
        untrained_meta: bool = False,
    ) -> None:
        """Make the weights and freeze the relation graphs; defaults are the authors' for Amazon Baby.

        Args:
            view: the training view; needs features of two modalities.
            dim: width D; final vectors are 3 D wide.
            n_layers: layers over the clicks, read out as their mean.
            n_relation_layers: layers over the relation graphs, of which the last is read out.
            rank: k of the meta network's maps.
            attention_drop: dropout of the weights of attention within a modality, in [0, 1).
            modality_drop: dropout of the weights of attention across modalities, in [0, 1).
            user_first: share of the first modality in the likeness of users.
            item_first: and of items.
            user_share: c, share of co-occurrence among users.
            item_share: and among items.
            user_k: neighbours per user.
            item_k: and per item.
            temperature: of InfoNCE.
            contrast_weight: of InfoNCE.
            decorrelation_weight: of the decorrelation.
            untrained_meta: the released behaviour: no gradient reaches the meta network's first layer.

        Raises:
            ConfigError: for other than two modalities, or dropout or temperature out of its range.
        """
        super().__init__(view)
        if len(view.features) != 2:
            found = ", ".join(view.features) or "none"
            raise ConfigError(f"REARM takes two modalities and the data have {found}; choose two stores")
        for name, value in (("attention_drop", attention_drop), ("modality_drop", modality_drop)):
            if not 0 <= value < 1:
                raise ConfigError(f"REARM.{name} is {value}, expected at least 0 and below 1")
        self.n_layers, self.n_relation_layers = check_layers(n_layers), check_layers(n_relation_layers)
        self.dim, self.rank, self.attention_drop, self.modality_drop = (
            dim,
            rank,
            attention_drop,
            modality_drop,
        )
        self.firsts, self.shares = (
            {"users": user_first, "items": item_first},
            {"users": user_share, "items": item_share},
        )
        self.ks = {"users": user_k, "items": item_k}
        self.temperature = check_temperature("REARM.temperature", temperature)
        self.contrast_weight = contrast_weight
        self.decorrelation_weight, self.untrained_meta = decorrelation_weight, untrained_meta
        self.names = [*view.features]
        widths = [rows.shape[1] for rows in view.features.values()]
        self.table = embedding_table((view.num_users, view.num_items), dim, "normal")
        self.item_maps = nn.ModuleList(nn.Linear(width, dim) for width in widths)
        self.user_maps = nn.ModuleList(nn.Linear(width, dim) for width in widths)
        for linear in (*self.item_maps, *self.user_maps):
            nn.init.xavier_normal_(linear.get_parameter("weight"))
        self.own_attention = nn.ModuleList(ScalarAttention() for _ in widths)
        self.cross_attention = nn.ModuleList(ScalarAttention() for _ in widths)
        self.norm, self.bend = nn.LayerNorm(dim), nn.PReLU()
        self.meta = nn.ModuleList(_Meta(dim, rank) for _ in ("users", "items"))
        for kind in ("users", "items"):
            self._relations(view, kind)

    def embed(self, view: GraphView) -> Embeddings:
        """Without dropout."""
        return self._embed(view, None)

    def embed_in_training(self, view: GraphView, rng: torch.Generator) -> Embeddings:
        """With dropout."""
        return self._embed(view, rng)

    def _embed(self, view: GraphView, rng: torch.Generator | None) -> Embeddings:
        sizes = [self.num_users, self.num_items]
        user_ids, item_ids = torch.split(self.table, sizes)
        item_rows = [map_(view.features[name]) for map_, name in zip(self.item_maps, self.names, strict=True)]
        user_rows = [
            map_(self._history(view, name)) for map_, name in zip(self.user_maps, self.names, strict=True)
        ]
        item_id, first, second = self._related(view, "items", [item_ids, *item_rows])
        user_id, user_first, user_second = self._related(view, "users", [user_ids, *user_rows])

        own, cross = self.own_attention, self.cross_attention
        within, across = self.attention_drop, self.modality_drop
        first = self.bend(self.norm(first + own[0](first, first, within, rng)))
        second = self.bend(self.norm(second + own[1](second, second, within, rng)))
        to_first = self.bend(self.norm(first + cross[0](second, first, across, rng)))
        to_second = self.bend(self.norm(second + cross[1](first, second, across, rng)))

        matrix = user_item_matrix(view)
        users = torch.cat([self.bend(user_first), self.bend(user_second)], dim=1)
        items = torch.cat([to_first, to_second], dim=1)
        both = smooth(matrix, torch.cat([users, items]), n_layers=self.n_layers)
        ids = smooth(matrix, torch.cat([user_id, item_id]), n_layers=self.n_layers)
        shared = torch.cat(
            [
                meta(part.detach() if self.untrained_meta else part, one, self.untrained_meta)
                for meta, part, one in zip(
                    self.meta, torch.split(both, sizes), torch.split(ids, sizes), strict=True
                )
            ]
        )
        of_first, of_second = both.chunk(2, dim=1)
        final = torch.cat([self.bend(one) + ids for one in (of_first, of_second, shared)], dim=1)
        out = _WithModalities(*torch.split(final, sizes))
        out.modalities = of_first, of_second
        return out

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`bpr`, `contrast` and `decorrelation`."""
        rows = out.rows(batch)
        assert isinstance(out, _WithModalities)
        first, second = out.modalities
        users, items = torch.unique(batch.users), torch.unique(torch.cat([batch.items, batch.negatives]))
        contrast = [
            info_nce(first[some], second[some], self.temperature) for some in (users, items + self.num_users)
        ]
        apart = [
            decorrelation(first[some], second[some]) for some in (batch.users, batch.items + self.num_users)
        ]
        return {
            "bpr": bpr_loss(rows.users, rows.items - rows.negatives),
            "contrast": self.contrast_weight * torch.stack(contrast).sum(),
            "decorrelation": self.decorrelation_weight * torch.stack(apart).sum(),
        }

    def _related(self, view: GraphView, kind: Kind, parts: list[Tensor]) -> tuple[Tensor, ...]:
        """Parts side by side over the relation graph, normalised together, and apart again."""
        graph = self._relations(view, kind)
        out = smooth(graph, torch.cat(parts, dim=1), n_layers=self.n_relation_layers, readout="last")
        return normalize(out, dim=1).chunk(3, dim=1)

    def _history(self, view: GraphView, name: str) -> Tensor:
        named = f"history {name} on {view.edge_index.device}"
        return view.freeze(named, lambda clean: history_features(clean, name)[0].to(view.edge_index.device))

    def _relations(self, view: GraphView, kind: Kind) -> SparseMatrix:
        k, share, first = self.ks[kind], self.shares[kind], self.firsts[kind]

        def build(clean: GraphView) -> tuple[Tensor, Tensor]:
            index, weight = cooccurrence_graph(clean, kind, k=k, weights="softmax")
            parts = [(index, share * weight)]
            for name, part in zip(self.names, (first, 1 - first), strict=True):
                if kind == "users":
                    index, weight = user_interest_graph(clean, name, k=k)
                else:
                    index, weight = modality_neighbours(clean, name, k=k)
                    weight = weight / k
                parts.append((index, (1 - share) * part * weight))
            return torch.cat([one for one, _ in parts], dim=1), torch.cat(
                [one.to(self.table.dtype) for _, one in parts]
            )

        size = self.num_users if kind == "users" else self.num_items
        named = f"REARM {kind} {k} {share} {first}"
        return frozen_matrix(view, named, size, build, dtype=self.table.dtype)


class _Meta(nn.Module):
    """Writes a map of low rank for each node, and applies it to the node's id."""

    def __init__(self, dim: int, rank: int) -> None:
        super().__init__()
        self.dim, self.rank, wide = dim, rank, dim * rank
        self.linear = nn.Linear(2 * dim, dim)
        self.writers = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, wide), nn.PReLU(), nn.Linear(wide, wide)) for _ in range(2)
        )

    def forward(self, modalities: Tensor, ids: Tensor, stop: bool) -> Tensor:
        """[n, 2 D] and [n, D] to [n, D]."""
        z = self.linear(modalities)
        first, second = (normalize(writer(z.detach() if stop else z), dim=1) for writer in self.writers)
        into, back = first.view(-1, self.dim, self.rank), second.view(-1, self.rank, self.dim)
        into = torch.softmax(into + into.mean(dim=0), dim=1)
        back = torch.softmax(back + back.mean(dim=0), dim=1)
        return (ids[:, None, :] @ into @ back).squeeze(1)
