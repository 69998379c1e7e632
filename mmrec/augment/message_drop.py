"""Dropping numbers of the embeddings inside propagation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmrec.augment.base import Augmentation, check_rate
from mmrec.graph.matrices import with_inside
from mmrec.graph.view import GraphView
from mmrec.train.streams import draw_seed, keep, stream


@dataclass(frozen=True)
class _Dropout:
    drop: float
    seed: int

    def __call__(self, layer: Tensor, number: int) -> Tensor:
        kept = keep(layer.shape, 1 - self.drop, stream(self.seed, f"layer {number}", layer.device))
        return layer * kept.to(layer.dtype).div_(1 - self.drop)


class MessageDrop(Augmentation):
    """Drop each number of each layer with probability `drop` (NGCF, Wang et al. 2019, section 2.4.2).

    What is kept is divided by 1 - drop. List it under `augment.step`.
    """

    def __init__(self, drop: float = 0.1) -> None:
        """Set the rate.

        Args:
            drop: share of numbers to drop, in [0, 1).
        """
        self.drop = check_rate("MessageDrop.drop", drop)

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """A view in which propagation drops."""
        if self.drop == 0:
            return view
        return with_inside(view, _Dropout(self.drop, draw_seed(rng)))
