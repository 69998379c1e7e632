"""Noise on the embeddings inside propagation, as long as the embedding allows."""

from __future__ import annotations

import torch

from mmrec.augment.base import Augmentation
from mmrec.augment.embedding_noise import UniformNoise, check_scale
from mmrec.graph.matrices import with_inside
from mmrec.graph.view import GraphView
from mmrec.train.streams import draw_seed


class ModulusNoise(Augmentation):
    """SimGCL's noise with length scale * |e|, so that long embeddings get more (SIGE, arXiv:2508.06154).

    Experimental: the paper names the idea, its formula could not be obtained.
    """

    def __init__(self, scale: float = 0.1) -> None:
        """Set the strength.

        Args:
            scale: length of the noise as a share of the embedding's; at least 0.
        """
        self.scale = check_scale("ModulusNoise.scale", scale)

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view in which propagation is noisy."""
        if self.scale == 0:
            return view
        noise = UniformNoise(self.scale, draw_seed(rng), by_modulus=True)
        return with_inside(view, noise)
