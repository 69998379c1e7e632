"""What a recommender is: embeddings of users and items, losses on them, and scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from mmrec.errors import ConfigError
from mmrec.graph.view import GraphView
from mmrec.losses.ranking import bpr

Part = Literal["features", "item_graph"]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What a model makes of a view: users [U, D] and items [I, D]."""

    users: Tensor
    items: Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's training pairs: int64 [B] each, and the randomness that losses may draw from.

    Attributes:
        users: who clicked.
        items: what they clicked.
        negatives: an item of the training clicks that the user did not click in training.
        rng: generator on the device of the tensors.
    """

    users: Tensor
    items: Tensor
    negatives: Tensor
    rng: torch.Generator


class Recommender(nn.Module, ABC):
    """Base of every model: subclass, take a view and flat keyword options, and define `embed`.

    A model keeps no graph: it is given the view it should look at, augmented or clean, at every call.
    Parameters that are made in the constructor are drawn from torch's global generator, which the caller
    seeds for that moment.
    """

    needs: ClassVar[frozenset[Part]] = frozenset()  # parts of a view that the model cannot do without

    def __init__(self, view: GraphView) -> None:
        """Remember the sizes.

        Args:
            view: the training view; subclasses read shapes from it and must not keep its graph.
        """
        super().__init__()
        self.num_users, self.num_items = view.num_users, view.num_items

    @property
    def device(self) -> torch.device:
        """Where the parameters are; the CPU for a model without any."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    @abstractmethod
    def embed(self, view: GraphView) -> Embeddings:
        """Embeddings of all users and items; called once per training step and once per evaluation."""

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """Named scalar losses of one step, summed in the training loop; BPR on dot products by default.

        Args:
            out: what `embed` made of `view`.
            batch: the step's pairs.
            view: the view of this epoch; project only the batch's rows of its features.
        """
        users = out.users[batch.users]
        positive = (users * out.items[batch.items]).sum(dim=1)
        negative = (users * out.items[batch.negatives]).sum(dim=1)
        return {"bpr": bpr(positive, negative)}

    def for_ranking(self, out: Embeddings) -> Embeddings:
        """Vectors whose dot product is the score, made once per evaluation; by default `out` itself."""
        return out

    def score(self, out: Embeddings, users: Tensor) -> Tensor:
        """Scores [B, I] of every item for users [B]; `out` is what `for_ranking` returned."""
        return out.users[users] @ out.items.T


def embedding_table(sizes: tuple[int, ...], dim: int, init: Literal["normal", "xavier"]) -> nn.Parameter:
    """Trainable rows, one block after the other: users, then items.

    Args:
        sizes: rows of each block; xavier depends on the shape, so each is initialised as a matrix of its own.
        dim: width D.
        init: `normal` is N(0, 0.1^2) (LightGCN's code); `xavier` is xavier-uniform as MMRec has it.

    Raises:
        ConfigError: if dim is not at least 1.
    """
    if dim < 1:
        raise ConfigError(f"the width dim of a model is {dim}, expected at least 1")
    table = torch.empty(sum(sizes), dim)
    for block in torch.split(table, list(sizes)):
        if init == "normal":
            nn.init.normal_(block, std=0.1)
        else:
            nn.init.xavier_uniform_(block)
    return nn.Parameter(table)
