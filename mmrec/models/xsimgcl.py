"""XSimGCL: one noisy propagation, contrasted with one of its own layers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmrec.augment.embedding_noise import UniformNoise
from mmrec.errors import ConfigError
from mmrec.graph.matrices import user_item_matrix, with_inside
from mmrec.graph.ops import layer_outputs
from mmrec.graph.view import GraphView
from mmrec.losses.contrastive import check_temperature, info_nce
from mmrec.losses.ranking import bpr_loss
from mmrec.losses.regularisers import L2
from mmrec.models.base import Batch, Embeddings
from mmrec.models.lightgcn import LightGCN
from mmrec.train.streams import draw_seed


class _WithLayer(Embeddings):
    """The mean of layers, and one layer of them [U + I, D]."""

    layer: Tensor


class XSimGCL(LightGCN):
    """XSimGCL (Yu et al. 2023): BPR on a noisy mean of layers 1..L, InfoNCE between it and layer l*, eq. 10.

    SimGCL's two extra passes are spared, as the ranking's own pass is noisy: a step propagates as
    often as LightGCN's. Noise is `EmbeddingNoise`'s.
    """

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        n_layers: int = 2,
        layer: int = 1,
        scale: float = 0.2,
        weight: float = 0.2,
        temperature: float = 0.15,
        reg: float = 1e-4,
        l2: L2 = "squared",
        init: Literal["normal", "xavier"] = "xavier",
    ) -> None:
        """Make one table of users and items.

        Args:
            view: the training view.
            dim: width D of the embeddings.
            n_layers: L, at least 1.
            layer: l*, in 1..L, the layer that is contrasted with the mean.
            scale: length of the noise, the paper's epsilon.
            weight: of InfoNCE.
            temperature: of InfoNCE.
            reg: strength of the L2 penalty on the batch's rows of layer 0.
            l2: kind of that penalty.
            init: `xavier` is xavier-uniform (the authors' code); `normal` is N(0, 0.1^2).

        Raises:
            ConfigError: if `layer` is not one of the layers, or the temperature not above 0.
        """
        super().__init__(view, dim=dim, n_layers=n_layers, reg=reg, l2=l2, init=init, skip_first=True)
        if not 1 <= layer <= n_layers:
            raise ConfigError(f"XSimGCL.layer is {layer}, expected 1 to n_layers, which is {n_layers}")
        self.layer, self.scale, self.weight = layer, scale, weight
        self.temperature = check_temperature("XSimGCL.temperature", temperature)

    def embed(self, view: GraphView) -> Embeddings:
        """Mean of layers 1..L, with layer l* beside it."""
        layers = layer_outputs(user_item_matrix(view), self.table, self.n_layers)
        mean = torch.stack(layers[1:]).mean(dim=0)
        out = _WithLayer(*torch.split(mean, [self.num_users, self.num_items]))
        out.layer = layers[self.layer]
        return out

    def embed_in_training(self, view: GraphView, rng: torch.Generator) -> Embeddings:
        """The same with noise in each layer."""
        return self.embed(with_inside(view, UniformNoise(self.scale, draw_seed(rng))))

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`bpr`, `contrast` over the distinct users and clicked items of the batch, and `l2`."""
        rows = out.rows(batch)
        losses = {"bpr": bpr_loss(rows.users, rows.items - rows.negatives), **self.penalty(rows, batch)}
        if isinstance(out, _WithLayer):
            users, items = torch.unique(batch.users), torch.unique(batch.items)
            final, early = out.of(users, items), (out.layer[users], out.layer[items + self.num_users])
            pairs = zip(final, early, strict=True)
            both = [info_nce(one, other, self.temperature) for one, other in pairs]
            losses["contrast"] = self.weight * (both[0] + both[1])
        return losses
