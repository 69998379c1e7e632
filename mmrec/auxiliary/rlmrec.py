"""Embeddings held to what a language model says of users and items."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mmrec.augment.base import check_rate
from mmrec.augment.embedding_noise import check_scale
from mmrec.auxiliary.base import Auxiliary
from mmrec.errors import ConfigError
from mmrec.graph.interest import history_features
from mmrec.graph.view import GraphView
from mmrec.losses.contrastive import check_temperature, info_nce
from mmrec.models.base import Batch, Embeddings, Part, Recommender


class RLMRec(Auxiliary):
    """RLMRec (Ren et al. 2024) beside any graph model, contrastive (eq. 9) or generative (eq. 10).

    Contrastive: InfoNCE between embeddings and mapped profiles; a batch's users against all users, its items
    and its negatives, each once, among themselves. Generative: some nodes' layer 0 becomes a trained token,
    and what propagation makes of them has to find their profile; the model's own loss stays on the clean
    graph, where the released code takes it on the masked one. Profiles are item features, and for users their
    mean over the clicks; language models' own profiles of users have no place in a feature store yet.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"features"})

    def __init__(
        self,
        view: GraphView,
        *,
        how: Literal["contrastive", "generative"] = "contrastive",
        weight: float = 1e-2,
        temperature: float = 0.2,
        mask: float = 0.15,
        dim: int = 64,
        modality: str | None = None,
    ) -> None:
        """Make the map between profiles and embeddings.

        Args:
            view: the training view; needs features.
            how: see above; the generative one needs a model with a `table` of users and items, as wide as its
                embeddings.
            weight: of the loss; the paper's is 1e-2, and 0.1 or 0.01 for the generative one.
            temperature: of InfoNCE.
            mask: share of nodes that are masked, in [0, 1).
            dim: width of the model's embeddings.
            modality: which features are the profiles; all side by side by default.

        Raises:
            ConfigError: for a modality that is not there, or a temperature that is not above 0.
        """
        super().__init__()
        if modality is not None and modality not in view.features:
            known = ", ".join(view.features)
            raise ConfigError(f"RLMRec.modality is '{modality}', expected one of {known}")
        self.how, self.weight = how, check_scale("RLMRec.weight", weight)
        self.temperature = check_temperature("RLMRec.temperature", temperature)
        self.mask, self.num_users = check_rate("RLMRec.mask", mask), view.num_users
        names = [*view.features] if modality is None else [modality]
        users = torch.cat([history_features(view, name)[0] for name in names], dim=1)
        items = torch.cat([view.features[name] for name in names], dim=1)
        self.register_buffer("profiles", torch.cat([users, items]).clone(), persistent=False)
        width = items.shape[1]
        sizes = (width, dim) if how == "contrastive" else (dim, width)
        hidden = (width + dim) // 2
        self.map = nn.Sequential(nn.Linear(sizes[0], hidden), nn.LeakyReLU(), nn.Linear(hidden, sizes[1]))
        for linear in (self.map[0], self.map[2]):
            nn.init.xavier_uniform_(linear.get_parameter("weight"))
        if how == "generative":
            self.token = nn.Parameter(torch.zeros(dim))

    def losses(
        self, model: Recommender, view: GraphView, out: Embeddings, batch: Batch, rng: torch.Generator
    ) -> dict[str, Tensor]:
        """`profiles`.

        Raises:
            ConfigError: for another width than `dim`, or a model that `generative` does not fit.
        """
        found = self._align(out, batch) if self.how == "contrastive" else self._generate(model, view, batch)
        return {"profiles": self.weight * found}

    def _align(self, out: Embeddings, batch: Batch) -> Tensor:
        rows, profiles = out.rows(batch), self.get_buffer("profiles")
        self._check_width(rows.users.shape[1])
        all_users = self.map(profiles[: self.num_users])
        loss = info_nce(rows.users, all_users[batch.users], self.temperature, candidates=all_users)
        for chosen in (batch.items, batch.negatives.flatten()):
            items = torch.unique(chosen)  # twice the same would be its own rival
            _, embedded = out.of(batch.users[:0], items)
            loss = loss + info_nce(embedded, self.map(profiles[items + self.num_users]), self.temperature)
        return loss

    def _generate(self, model: Recommender, view: GraphView, batch: Batch) -> Tensor:
        table, kind = getattr(model, "table", None), type(model).__name__
        if not isinstance(table, Tensor):
            raise ConfigError(f"RLMRec.how is generative and {kind} has no table of ids; take contrastive")
        self._check_width(table.shape[1])
        order = torch.randperm(len(table), generator=batch.rng, device=table.device)
        nodes = order[: max(int(self.mask * len(table)), 1)]
        masked = table.index_copy(0, nodes, self.token.to(table.dtype).expand(len(nodes), -1))
        users, items = nodes[nodes < self.num_users], nodes[nodes >= self.num_users]
        made = torch.cat(functional_call(model, {"table": masked}, (view,)).of(users, items - self.num_users))
        if made.shape[1] != table.shape[1]:
            widths = f"embeddings are {made.shape[1]} wide and its table {table.shape[1]}"
            raise ConfigError(f"RLMRec.how is generative, {kind}'s {widths}; take contrastive")
        profiles = self.get_buffer("profiles")[torch.cat([users, items])]
        return info_nce(self.map(made), profiles, self.temperature)

    def _check_width(self, width: int) -> None:
        expected = self.map[2].out_features if self.how == "contrastive" else self.map[0].in_features
        if width != expected:
            raise ConfigError(f"RLMRec.dim is {expected} and the model's embeddings are {width} wide; set it")
