"""AlphaRec: no ids; a map of language (or any) features, propagated over the clicks."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmrec.errors import ConfigError
from mmrec.graph.interest import history_features
from mmrec.graph.matrices import user_item_matrix
from mmrec.graph.ops import check_layers, smooth
from mmrec.graph.view import GraphView
from mmrec.losses.contrastive import check_temperature
from mmrec.losses.ranking import sampled_softmax
from mmrec.models.base import Batch, Embeddings, Part, Recommender


class AlphaRec(Recommender):
    """AlphaRec (Sheng et al. 2025): E0 = MLP([mean features of a user's clicks; an item's]), LightGCN's mean.

    Cosines are ranked, and trained by a softmax over the clicked item and `negatives` drawn ones (eq. 4-5).
    There is no id embedding: users and items that come later are embedded all the same.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"features"})

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        n_layers: int = 2,
        expand: float = 0.5,
        temperature: float = 0.15,
        negatives: int = 256,
        modality: str | None = None,
        kind: Literal["mlp", "linear"] = "mlp",
    ) -> None:
        """Make the map.

        Args:
            view: the training view; needs features.
            dim: width D.
            n_layers: layers over the clicks; 0 with `linear` is the paper's linear probe.
            expand: hidden width as a share of the features'; the paper's is 8 for 768 columns, 1/2 for 3,072.
            temperature: of the softmax; the paper's 0.15 to 0.2.
            negatives: drawn for each pair.
            modality: which features; all side by side by default.
            kind: `mlp` of two layers, or `linear`.

        Raises:
            ConfigError: for a modality that is not there, or negatives or temperature out of their ranges.
        """
        super().__init__(view)
        if modality is not None and modality not in view.features:
            raise ConfigError(
                f"AlphaRec.modality is '{modality}', expected one of {', '.join(view.features)}"
            )
        if negatives < 1:
            raise ConfigError(f"AlphaRec.negatives is {negatives}, expected at least 1")
        self.n_layers, self.n_negatives = check_layers(n_layers), negatives
        self.temperature = check_temperature("AlphaRec.temperature", temperature)
        self.names = [*view.features] if modality is None else [modality]
        width = sum(view.features[name].shape[1] for name in self.names)
        hidden = max(int(expand * width), dim)
        mlp = nn.Sequential(nn.Linear(width, hidden), nn.LeakyReLU(), nn.Linear(hidden, dim))
        self.map = mlp if kind == "mlp" else nn.Linear(width, dim, bias=False)

    def embed(self, view: GraphView) -> Embeddings:
        """Unit vectors, so that dot products are cosines."""
        items = torch.cat([view.features[name] for name in self.names], dim=1)

        def histories(view: GraphView) -> Tensor:
            return torch.cat([history_features(view, name)[0] for name in self.names], dim=1)

        users = view.derive("histories: " + " ".join(self.names), histories)
        mapped: Tensor = self.map(torch.cat([users, items]))
        out = normalize(smooth(user_item_matrix(view), mapped, n_layers=self.n_layers), dim=1)
        return Embeddings(*torch.split(out, [self.num_users, self.num_items]))

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`softmax` over the clicked item and the negatives."""
        users, items = out.of(batch.users, batch.items)
        negatives = batch.negatives.view(len(users), -1)
        distinct, place = torch.unique(negatives, return_inverse=True)
        if len(distinct) <= negatives.shape[1] * users.shape[1]:
            # Cosines with all that were drawn: a product is cheaper than gathering each pair's own rows.
            cosines = (users @ out.items.index_select(0, distinct).T).gather(1, place)
        else:  # a large catalogue: all that were drawn would be more numbers than each pair's own rows
            cosines = (users[:, None] * out.items[negatives]).sum(dim=2)
        positive = (users * items).sum(dim=1)
        return {"softmax": sampled_softmax(positive, cosines, self.temperature)}
