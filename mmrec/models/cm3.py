"""CM3: alignment, and uniformity that lets similar items stay close."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmrec.errors import ConfigError
from mmrec.graph.view import GraphView
from mmrec.losses.uniformity import alignment, distinct, uniformity
from mmrec.models.base import Batch, Embeddings
from mmrec.models.lirdrec import LIRDRec


class _WithMix(Embeddings):
    """Embeddings, and the items' mixed modalities [I, D]."""

    mix: Tensor


class CM3(LIRDRec):
    """CM3 (Zhou et al. 2025, arXiv:2508.01226): LIRDRec's blocks, the shared one a mix on the unit sphere.

    Loss: |u - i|^2 + gamma / 2 (uniformity of users + calibrated uniformity of the batch's negatives), where
    pairs of items are pushed apart only as far as their mixed modalities say. The mix is a spherical
    interpolation with a share drawn from Beta(alpha, alpha) for each item and step, and 1/2 in evaluation.
    """

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        hidden: int = 256,
        n_layers: int = 3,
        gamma: float = 0.9,
        most_similar: float = 1.0,
        alpha: float = 0.5,
        rank_by: Literal["dot", "cosine"] = "dot",
    ) -> None:
        """Make the users' tables and the maps.

        Args:
            view: the training view; needs features and an item graph.
            dim: width D of a block.
            hidden: width between the two layers of a modality's map.
            n_layers: layers over the clicks, which are summed; the paper's grid is 3, 4.
            gamma: weight of uniformity; grid 0.5, 0.9.
            most_similar: cap of the similarities in the calibration; grid 0.8, 1.
            alpha: of the Beta distribution; grid 0.1, 0.5, 0.9.
            rank_by: training looks at directions alone; `dot` ranks by dot products all the same, where long
                items come first, as released, `cosine` by what was trained.

        Raises:
            ConfigError: if alpha is not above 0.
        """
        if not alpha > 0:
            raise ConfigError(f"CM3.alpha is {alpha}, expected above 0")
        super().__init__(view, dim=dim, hidden=hidden, n_layers=n_layers, reg=0.0)
        self.gamma, self.most_similar, self.alpha, self.rank_by = gamma, most_similar, alpha, rank_by
        self.to_sphere = nn.ModuleList(nn.Linear(rows.shape[1], dim) for rows in view.features.values())
        for linear in self.to_sphere:
            nn.init.xavier_normal_(linear.get_parameter("weight"))

    def _map_widths(self, widths: list[int]) -> list[int]:
        return widths

    def _add_weights(self, num_users: int, blocks: int, dim: int, own_share: float) -> None:
        self.theta = nn.Parameter(nn.init.xavier_normal_(torch.empty(num_users, blocks)))

    def start_epoch(self, epoch: int) -> None:
        """There is no schedule."""

    def embed(self, view: GraphView) -> Embeddings:
        """With half of each modality."""
        return self._embed(view, None)

    def embed_in_training(self, view: GraphView, rng: torch.Generator) -> Embeddings:
        """With shares drawn for each item."""
        return self._embed(view, rng)

    def _embed(self, view: GraphView, rng: torch.Generator | None) -> Embeddings:
        mix: Tensor | None = None
        for name, linear in zip(self.names, self.to_sphere, strict=True):
            point = normalize(linear(view.features[name]), dim=1)
            mix = point if mix is None else slerp(mix, point, self._shares(point, rng))
        assert mix is not None
        items = [map_(view.features[name]) for name, map_ in zip(self.names, self.maps, strict=True)]
        found = self._finish(view, [*items, mix])
        out = _WithMix(found.users, found.items)
        out.mix = mix
        return out

    def _shares(self, like: Tensor, rng: torch.Generator | None) -> Tensor:
        if rng is None:
            return like.new_full((len(like), 1), 0.5)
        shape = torch.full((2, len(like), 1), self.alpha, dtype=torch.float64, device=like.device)
        first, second = torch._standard_gamma(shape, generator=rng)  # a Beta is a share of two Gammas
        share: Tensor = first / (first + second).clamp(min=1e-300)
        return share.to(like.dtype)

    def _weigh(self, parts: list[Tensor]) -> Tensor:
        return torch.softmax(self.theta, dim=1)

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`align`, `uniform_users` and `uniform_items`."""
        rows = out.rows(batch)
        assert isinstance(out, _WithMix)
        places, counts = distinct(batch.users)
        uniform = uniformity(rows.users.index_select(0, places), counts=counts)
        places, counts = distinct(batch.negatives)
        items = rows.negatives.index_select(0, places)
        mix = out.mix.index_select(0, batch.negatives.index_select(0, places))
        calibrated = uniformity(items, mix, counts=counts, most_similar=self.most_similar)
        return {
            "align": alignment(rows.users, rows.items),
            "uniform_users": self.gamma / 2 * uniform,
            "uniform_items": self.gamma / 2 * calibrated,
        }

    def for_ranking(self, out: Embeddings) -> Embeddings:
        """Items of length one to rank by cosine, where a user's length says nothing."""
        return out if self.rank_by == "dot" else Embeddings(out.users, normalize(out.items, dim=1))


def slerp(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """The unit vector at `share` of the way from `second` to `first`, both unit [I, D]; share [I, 1]."""
    # 1e-6 off the ends, where float32 has no angle and the arc cosine no slope
    cosine = (first * second).sum(dim=1, keepdim=True).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = torch.arccos(cosine)
    both: Tensor = torch.sin(share * angle) * first + torch.sin((1 - share) * angle) * second
    return both / torch.sin(angle)
