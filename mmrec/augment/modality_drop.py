"""Taking photos or texts away from items."""

from __future__ import annotations

import torch

from mmrec.augment.base import Augmentation, check_rate
from mmrec.graph.view import GraphView


class ModalityDrop(Augmentation):
    """Take each modality of each item away with probability `drop`, on its own.

    In training this makes models that do without (Modality dropout, Neverova et al. 2016, ModDrop); the row
    becomes zero and `present` False, as for an item that never had it. The item graph stays as it is.
    """

    def __init__(self, drop: float = 0.1) -> None:
        """Set the rate.

        Args:
            drop: share of rows to take away, in [0, 1).
        """
        self.drop = check_rate("ModalityDrop.drop", drop)

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view with fewer features."""
        if self.drop == 0:
            return view
        features, present = {}, {}
        for name, rows in view.features.items():
            keep = (torch.rand(view.num_items, generator=rng) >= self.drop).to(rows.device)
            present[name] = view.present[name] & keep
            features[name] = rows * present[name][:, None]
        return view.changed(features=features, present=present)
