"""Masking columns of the features."""

from __future__ import annotations

import torch

from mmrec.augment.base import Augmentation, check_rate
from mmrec.graph.view import GraphView


class FeatureMask(Augmentation):
    """Set each column of each modality to zero with probability `drop`, for all items.

    Masking of node features as in GRACE (Zhu et al. 2020). The item graph stays as it is; models
    that take features in see the masked ones.
    """

    def __init__(self, drop: float = 0.1) -> None:
        """Set the rate.

        Args:
            drop: share of columns to mask, in [0, 1).
        """
        self.drop = check_rate("FeatureMask.drop", drop)

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view with masked features."""
        if self.drop == 0:
            return view
        features = {}
        for name, rows in view.features.items():
            keep = torch.rand(rows.shape[1], generator=rng) >= self.drop
            features[name] = rows * keep.to(rows.device)
        return view.changed(features=features)
