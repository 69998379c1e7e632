"""Noise on the features."""

from __future__ import annotations

import torch

from mmrec.augment.base import Augmentation
from mmrec.augment.embedding_noise import check_scale
from mmrec.graph.view import GraphView


class FeatureNoise(Augmentation):
    """Add Gaussian noise to the features of items that have them: x + scale * s * N(0, 1).

    s is the column's standard deviation over these items, so that one scale suits features of any size.
    """

    def __init__(self, scale: float = 0.1) -> None:
        """Set the strength.

        Args:
            scale: standard deviation of the noise, as a share of the column's; at least 0.
        """
        self.scale = check_scale("FeatureNoise.scale", scale)

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view with noisy features; missing rows stay zero."""
        if self.scale == 0:
            return view
        features = {}
        for name, rows in view.features.items():
            present = view.present[name]
            noise = torch.randn(rows.shape, generator=rng).to(rows.device)
            spread = rows[present].std(dim=0, correction=0) if bool(present.any()) else rows.new_zeros(())
            features[name] = rows + self.scale * spread * noise * present[:, None]
        return view.changed(features=features)
