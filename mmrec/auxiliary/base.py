"""What an auxiliary loss is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from mmrec.graph.view import GraphView
from mmrec.models.base import Batch, Embeddings, Part, Recommender


class Auxiliary(nn.Module, ABC):
    """A loss that is added to a model's own, whatever the model; only training knows of it.

    Its parameters, if it has any, are trained with the model's and left behind afterwards: what is evaluated
    and saved is the model.
    """

    needs: ClassVar[frozenset[Part]] = frozenset()  # parts of a view that it cannot do without

    def start(self, clean: GraphView) -> None:
        """Called once, before the first epoch, with the clean view on the device of training."""

    def start_epoch(self, epoch: int, view: GraphView, rng: torch.Generator) -> None:
        """Called before the first step of each epoch, from 1, with the epoch's view and chance (CPU)."""

    @abstractmethod
    def losses(
        self, model: Recommender, view: GraphView, out: Embeddings, batch: Batch, rng: torch.Generator
    ) -> dict[str, Tensor]:
        """Named scalar losses of one step, weights included.

        Args:
            model: the model that is trained.
            view: the view of this step.
            out: what the model made of it.
            batch: the step's pairs.
            rng: source of chance for augmentations, on the CPU.
        """
