"""SIGE: semantic item graphs, enhanced by clicks. Experimental."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from mmrec.augment.embedding_noise import UniformNoise
from mmrec.errors import ConfigError
from mmrec.graph.cooccurrence import item_partners
from mmrec.graph.learned import symmetric
from mmrec.graph.matrices import click_matrix, frozen_matrix, user_item_matrix
from mmrec.graph.neighbours import modality_neighbours
from mmrec.graph.ops import SparseMatrix, check_layers, propagate, smooth
from mmrec.graph.view import GraphView
from mmrec.losses.contrastive import check_temperature, info_nce, log_sum_exp
from mmrec.losses.ranking import bpr_loss
from mmrec.losses.regularisers import l2
from mmrec.models.base import Batch, Embeddings, Part, Recommender, embedding_table
from mmrec.train.streams import draw_seed


class _WithSemantics(Embeddings):
    """Final vectors; behaviour [V, D], each modality's semantics [V, D], and their mix [V, D]."""

    behaviour: Tensor
    semantics: list[Tensor]
    mixed: Tensor


class SIGE(Recommender):
    """Semantic item graph enhancement (arXiv:2508.06154). Experimental: formulas are partly reconstructed.

    The abstract names the ideas: clicks mixed into each modality's item graph, noise by modulus, alignment
    with behaviour as anchor and with the mixed semantics. How they are written here is our own: behaviour b
    is LightGCN's mean; semantics s_m = S_m (e * sigmoid(W2 LeakyReLU(W1 f_m))) over S_m = (1 - share) kNN_m +
    share C~, users the mean of theirs; s = sum_m a_m s_m with a = softmax(b . s_m); final vectors are b + s.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"features"})

    def __init__(
        self,
        view: GraphView,
        *,
        experimental: bool = True,
        dim: int = 64,
        n_layers: int = 2,
        k: int = 10,
        share: float = 0.3,
        scale: float = 0.1,
        temperature: float = 0.2,
        noise_weight: float = 1e-2,
        anchor_weight: float = 1e-2,
        align_weight: float = 1e-2,
        reg: float = 1e-4,
    ) -> None:
        """Make the table and the gates, and freeze the graphs.

        Args:
            view: the training view; needs features.
            experimental: to be left true; says that this is a reconstruction.
            dim: width D.
            n_layers: layers over the clicks.
            k: neighbours per item in each graph.
            share: of co-occurrence in each item graph, in [0, 1].
            scale: of the noise, as a share of each vector's length.
            temperature: of all contrasts.
            noise_weight: of the contrast between two noisy copies of each modality's semantics.
            anchor_weight: of the contrast of all modalities with behaviour.
            align_weight: of the contrast of behaviour and mixed semantics.
            reg: strength of the squared L2 penalty on the batch's final rows.

        Raises:
            ConfigError: if experimental is false, share is not in [0, 1], or the temperature not above 0.
        """
        super().__init__(view)
        if not experimental:
            raise ConfigError("SIGE.experimental is false; its formulas are a reconstruction, leave it true")
        if not 0 <= share <= 1:
            raise ConfigError(f"SIGE.share is {share}, expected 0 to 1")
        self.n_layers, self.k, self.share, self.scale = check_layers(n_layers), k, share, scale
        self.temperature, self.reg = check_temperature("SIGE.temperature", temperature), reg
        self.noise_weight, self.anchor_weight, self.align_weight = noise_weight, anchor_weight, align_weight
        self.table = embedding_table((view.num_users, view.num_items), dim, "xavier")
        self.gates = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(rows.shape[1], dim), nn.LeakyReLU(), nn.Linear(dim, dim))
                for name, rows in view.features.items()
            }
        )
        for name in view.features:
            self._graph(view, name)

    def embed(self, view: GraphView) -> Embeddings:
        """Behaviour plus mixed semantics."""
        sizes = [self.num_users, self.num_items]
        behaviour = smooth(user_item_matrix(view), self.table, n_layers=self.n_layers)
        items = torch.split(self.table, sizes)[1]
        clicks = click_matrix(view)
        count = clicks.multiply(items.new_ones(self.num_items, 1)).clamp(min=1)
        semantics = []
        for name, gate in self.gates.items():
            gated = items * torch.sigmoid(gate(view.features[name]))
            of_items = propagate(self._graph(view, name), gated)
            semantics.append(torch.cat([propagate(clicks, of_items) / count, of_items]))
        scores = torch.stack([(behaviour * one).sum(dim=1) for one in semantics], dim=1)
        weights = torch.softmax(scores, dim=1)
        mixed = torch.stack([weights[:, [n]] * one for n, one in enumerate(semantics)]).sum(dim=0)
        out = _WithSemantics(*torch.split(behaviour + mixed, sizes))
        out.behaviour, out.semantics, out.mixed = behaviour, semantics, mixed
        return out

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`bpr`, `noise`, `anchor`, `align` and `l2`."""
        rows = out.rows(batch)
        assert isinstance(out, _WithSemantics)
        users, items = torch.unique(batch.users), torch.unique(batch.items) + self.num_users
        seeds = [draw_seed(batch.rng), draw_seed(batch.rng)]
        noise, anchor, align = [], [], []
        for some in (users, items):
            behaviour, semantics = out.behaviour[some], [one[some] for one in out.semantics]
            for one in semantics:
                first, second = (UniformNoise(self.scale, seed, by_modulus=True)(one, 1) for seed in seeds)
                noise.append(info_nce(first, second, self.temperature))
            anchor.append(anchored(behaviour, semantics, self.temperature))
            align.append(info_nce(behaviour, out.mixed[some], self.temperature))
        return {
            "bpr": bpr_loss(rows.users, rows.items - rows.negatives),
            "noise": self.noise_weight * torch.stack(noise).sum(),
            "anchor": self.anchor_weight * torch.stack(anchor).sum(),
            "align": self.align_weight * torch.stack(align).sum(),
            "l2": self.reg * l2([rows.users, rows.items, rows.negatives]),
        }

    def _graph(self, view: GraphView, name: str) -> SparseMatrix:
        def build(clean: GraphView) -> tuple[Tensor, Tensor]:
            index, cosine = modality_neighbours(clean, name, k=self.k)
            near = symmetric(index, cosine.clamp(min=0), self.num_items)
            together, count = item_partners(clean, self.k)
            weights = [(1 - self.share) * near, self.share * count]
            return torch.cat([index, together], dim=1), torch.cat(weights)

        named = f"SIGE {name} {self.k} {self.share}"
        return frozen_matrix(view, named, self.num_items, build, dtype=self.table.dtype)


def anchored(anchor: Tensor, others: list[Tensor], temperature: float) -> Tensor:
    """-mean log( sum_m e^{cos(b_i, s_m,i) / t} / sum_m sum_j e^{cos(b_i, s_m,j) / t} ), [n, D] each."""
    unit = nn.functional.normalize(anchor, dim=1)
    partners = [nn.functional.normalize(one, dim=1) for one in others]
    own = torch.stack([(unit * one).sum(dim=1) / temperature for one in partners], dim=1)
    total = log_sum_exp(unit / temperature, torch.cat(partners), 256)
    return (total - torch.logsumexp(own, dim=1)).mean()
