"""LIRDRec: no item ids; modalities, and what they share by a cosine transform, weighed per user."""

from __future__ import annotations

import math
from typing import ClassVar
from weakref import ref

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmrec.errors import ConfigError
from mmrec.graph.matrices import item_matrix, user_item_matrix
from mmrec.graph.ops import check_layers, propagate, smooth
from mmrec.graph.view import GraphView
from mmrec.losses.ranking import bpr_loss
from mmrec.models.base import Batch, Embeddings, Part, Recommender


class _Weighed(Embeddings):
    """Embeddings, and the weights of the users' blocks, [U, blocks]."""

    weights: Tensor


class LIRDRec(Recommender):
    """LIRDRec (arXiv:2505.04960): X = [n(Theta_m | g_m(F_m))] for each modality m and a shared one.

    g_m is a two-layer map of all items' features; shared are the modalities' discrete cosine transforms
    side by side. X is summed over the layers of the clicks; a user's blocks are weighed by w1 q(user) + w2
    theta_u, an item's are added to their mean over the item graph. Progressive weight copying: at the start
    of each epoch t, w1 shrinks by `decay`^t against w2, and theta takes over the last weights.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"features", "item_graph"})

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        hidden: int = 256,
        n_layers: int = 2,
        reg: float = 1e-4,
        own_share: float = 0.9,
        decay: float = 0.9,
    ) -> None:
        """Make the users' tables and the maps.

        Args:
            view: the training view; needs features and an item graph.
            dim: width D of a block; vectors are D times modalities + 1 wide.
            hidden: width between the two layers of a map.
            n_layers: layers over the clicks, which are summed.
            reg: of the mean squared number of all final vectors.
            own_share: w1 at the start, in (0, 1); the paper's grid is 0.9, 0.95, 0.99.
            decay: see above.

        Raises:
            ConfigError: if own_share is not in (0, 1).
        """
        super().__init__(view)
        if not 0 < own_share < 1:
            raise ConfigError(f"{type(self).__name__}.own_share is {own_share}, expected above 0 and below 1")
        self.n_layers, self.reg, self.decay = check_layers(n_layers), reg, decay
        self.names = [*view.features]
        widths = [rows.shape[1] for rows in view.features.values()]
        blocks = len(widths) + 1
        self.tables = nn.ParameterList(
            nn.Parameter(nn.init.xavier_normal_(torch.empty(view.num_users, dim))) for _ in range(blocks)
        )
        self.maps = nn.ModuleList(_map(width, hidden, dim) for width in self._map_widths(widths))
        self._add_weights(view.num_users, blocks, dim, own_share)

    def _map_widths(self, widths: list[int]) -> list[int]:
        return [*widths, sum(widths)]

    def _add_weights(self, num_users: int, blocks: int, dim: int, own_share: float) -> None:
        self.scorers = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 16), nn.LeakyReLU(), nn.Linear(16, 1)) for _ in range(blocks)
        )
        self.theta = nn.Parameter(nn.init.xavier_normal_(torch.empty(num_users, blocks)))
        self.register_buffer("own", torch.tensor(own_share))
        self._last: Tensor | None = None  # weights of the last step
        self._last_batch: ref[Batch] | None = None  # whose they are

    def start_epoch(self, epoch: int) -> None:
        """Shrink w1 and copy the last weights: w1 / w2 is then own / (1 - own) decay^(t (t + 1) / 2)."""
        own: Tensor = self.get_buffer("own")
        smaller = own * self.decay**epoch
        own.copy_(smaller / (smaller + 1 - own))
        if self._last is not None:
            with torch.no_grad():
                self.theta.copy_(self._last)

    def embed(self, view: GraphView) -> Embeddings:
        """Weighed blocks of users, enriched blocks of items."""
        items = [map_(view.features[name]) for name, map_ in zip(self.names, self.maps, strict=False)]
        return self._finish(view, [*items, self._shared(view)])

    def _shared(self, view: GraphView) -> Tensor:
        def transformed(view: GraphView) -> Tensor:
            return torch.cat([cosine_transform(rows) for rows in view.features.values()], dim=1)

        # What has gradients is of one step.
        once = any(rows.requires_grad for rows in view.features.values())
        found = transformed(view) if once else view.derive("features: cosine transform", transformed)
        shared: Tensor = self.maps[-1](found)
        return shared

    def _finish(self, view: GraphView, items: list[Tensor]) -> Embeddings:
        """From the items' blocks [I, D] each to final vectors."""
        blocks = [
            normalize(torch.cat([table, block]), dim=1)
            for table, block in zip(self.tables, items, strict=True)
        ]
        out = smooth(user_item_matrix(view), torch.cat(blocks, dim=1), n_layers=self.n_layers, readout="sum")
        users, of_items = torch.split(out, [self.num_users, self.num_items])
        parts = users.chunk(len(items), dim=1)
        weights = self._weigh(list(parts))
        users = torch.cat([weights[:, [n]] * part for n, part in enumerate(parts)], dim=1)
        found = _Weighed(users, of_items + propagate(item_matrix(view), of_items))
        found.weights = weights.detach()
        return found

    def _weigh(self, parts: list[Tensor]) -> Tensor:
        """Weights of the blocks per user, [U, blocks], each row summing to one."""
        scores = [scorer(part) for scorer, part in zip(self.scorers, parts, strict=True)]
        own: Tensor = self.get_buffer("own")
        return torch.softmax(own * torch.cat(scores, dim=1) + (1 - own) * self.theta, dim=1)

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`bpr`, and `l2` on all final vectors."""
        # Of the step's own pass: auxiliary losses embed other views, and may take their losses, after it.
        if isinstance(out, _Weighed) and (self._last_batch is None or self._last_batch() is not batch):
            self._last, self._last_batch = out.weights, ref(batch)
        rows = out.rows(batch)
        size = out.users.square().mean() + out.items.square().mean()
        return {"bpr": bpr_loss(rows.users, rows.items - rows.negatives), "l2": self.reg * size}


def cosine_transform(rows: Tensor) -> Tensor:
    """DCT-II of each row, orthonormal: lengths and inner products stay, [I, F] to [I, F]; differentiable."""
    width = rows.shape[1]
    angle = torch.arange(width, dtype=torch.float64, device=rows.device) * (math.pi / (2 * width))
    scale = torch.full_like(angle, math.sqrt(2))
    scale[:1] = 1
    cosine, sine = (part.to(rows.dtype) for part in (scale * torch.cos(angle), scale * torch.sin(angle)))
    parts = []
    for some in torch.split(rows, 256):  # complex numbers of a few rows at a time, not of all
        # By a Fourier transform of the even places and then the odd ones backwards (Makhoul 1980).
        ordered = torch.cat([some[:, ::2], some[:, 1::2].flip(1)], dim=1)
        spectrum = torch.fft.fft(ordered, dim=1, norm="ortho")
        parts.append(spectrum.real * cosine + spectrum.imag * sine)
    return torch.cat(parts)


def _map(width: int, hidden: int, dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.LeakyReLU(), nn.Linear(hidden, dim, bias=False))
