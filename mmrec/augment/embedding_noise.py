"""Noise on the embeddings inside propagation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmrec.augment.base import Augmentation
from mmrec.errors import GraphError
from mmrec.graph.matrices import with_inside
from mmrec.graph.view import GraphView
from mmrec.train.streams import draw_seed, stream, uniform


@dataclass(frozen=True)
class UniformNoise:
    """e + scale * sign(e) * delta / |delta| after each layer, delta uniform in (0, 1)^D; a value.

    Attributes:
        scale: length of the noise.
        seed: of the stream it is drawn from, the same at every call.
        by_modulus: multiply the length by |e|.
    """

    scale: float
    seed: int
    by_modulus: bool = False

    def __call__(self, layer: Tensor, number: int) -> Tensor:
        """The layer with noise."""
        delta = uniform(layer.shape, stream(self.seed, f"layer {number}", layer.device)).to(layer.dtype)
        length = self.scale / torch.linalg.vector_norm(delta, dim=1, keepdim=True)
        if self.by_modulus:
            length *= torch.linalg.vector_norm(layer.detach(), dim=1, keepdim=True)
        return torch.addcmul(layer, delta.mul_(length), layer.detach().sign())


class EmbeddingNoise(Augmentation):
    """SimGCL's noise (Yu et al. 2022, eq. 7-8): a step of length `scale` within the embedding's own orthant.

    Drawn anew for each layer. List it under `augment.views` or `augment.step`: drawn once an epoch, all its
    steps would see the same noise.
    """

    def __init__(self, scale: float = 0.1) -> None:
        """Set the strength.

        Args:
            scale: length of the noise vector, the paper's epsilon; at least 0.
        """
        self.scale = check_scale("EmbeddingNoise.scale", scale)

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view in which propagation is noisy."""
        if self.scale == 0:
            return view
        return with_inside(view, UniformNoise(self.scale, draw_seed(rng)))


def check_scale(name: str, value: float) -> float:
    """`value` if it is a finite number of at least 0, else a one-line error.

    Raises:
        GraphError: naming the option.
    """
    if not 0 <= value < float("inf"):
        raise GraphError(f"{name} is {value}, expected a finite number of at least 0")
    return value
