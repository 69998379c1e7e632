"""What a recommender is: embeddings of users and items, losses on them, and scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from mmrec.errors import ConfigError
from mmrec.graph.ops import Readout, SparseMatrix, check_layers, smooth, smooth_rows
from mmrec.graph.view import GraphView
from mmrec.losses.ranking import bpr_loss

Part = Literal["features", "item_graph"]


class Embeddings:
    """What a model makes of a view: users [U, D] and items [I, D]."""

    def __init__(self, users: Tensor, items: Tensor) -> None:
        """Keep the matrices.

        Args:
            users: [U, D].
            items: [I, D].
        """
        self._all = users, items

    @property
    def users(self) -> Tensor:
        """All users [U, D]."""
        return self._all[0]

    @property
    def items(self) -> Tensor:
        """All items [I, D]."""
        return self._all[1]

    def of(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Those of some users [n] and items [m]: [n, D] and [m, D]."""
        return self.users.index_select(0, users), self.items.index_select(0, items)

    def rows(self, batch: Batch) -> Rows:
        """Those of a batch; ask once per step, as each time costs a pass over the gradient."""
        users, both = self.of(batch.users, torch.cat([batch.items, batch.negatives.flatten()]))
        items, negatives = torch.split(both, [len(batch.items), batch.negatives.numel()])
        return Rows(users, items, negatives)


class Propagated(Embeddings):
    """Embeddings by linear propagation of a table, computed when they are looked at: all, or a batch's.

    A training step looks at a batch's rows only, and then others are not computed (`smooth_rows`).
    """

    def __init__(
        self,
        matrix: SparseMatrix,
        table: Tensor,
        num_users: int,
        *,
        n_layers: int,
        readout: Readout = "mean",
    ) -> None:
        """Keep what they will be computed from.

        Args:
            matrix: normalised user-item graph [U + I, U + I].
            table: layer 0, [U + I, D].
            num_users: U.
            n_layers: number of layers.
            readout: what is made of the layers.
        """
        self.matrix, self.table, self.num_users = matrix, table, num_users
        self.n_layers, self.readout = check_layers(n_layers), readout if n_layers else "mean"

    @cached_property
    def _all(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        out = smooth(self.matrix, self.table, n_layers=self.n_layers, readout=self.readout)
        users, items = torch.split(out, [self.num_users, len(out) - self.num_users])
        return users, items

    def of(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Those of some users and items; no others are computed."""
        nodes = torch.cat([users, items + self.num_users])
        final, self.first = smooth_rows(
            self.matrix, self.table, nodes, n_layers=self.n_layers, readout=self.readout
        )
        of_users, of_items = torch.split(final, [len(users), len(items)])
        return of_users, of_items

    def rows(self, batch: Batch) -> Rows:
        """Those of a batch, with their rows of layer 0."""
        rows = super().rows(batch)
        return replace(rows, first=self.first)


@dataclass(frozen=True, eq=False)
class Rows:
    """A batch's rows of embeddings, [B, D] each.

    Attributes:
        users: of its users.
        items: of what they clicked.
        negatives: of what they did not click.
        first: layer 0 of the three, one below the other [3 B, D]; None where the model has no such thing.
    """

    users: Tensor
    items: Tensor
    negatives: Tensor
    first: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's training pairs: int64 [B] each, and the randomness that losses may draw from.

    Attributes:
        users: who clicked.
        items: what they clicked.
        negatives: an item of the training clicks that the user did not click in training; [B, n] for models
            that ask for n of them.
        rng: generator on the device of the tensors.
    """

    users: Tensor
    items: Tensor
    negatives: Tensor
    rng: torch.Generator

    def nodes(self, num_users: int) -> Tensor:
        """Users, items and negatives as nodes of the user-item graph, item i being node U + i: [3 B]."""
        return torch.cat([self.users, self.items + num_users, self.negatives + num_users])


class Recommender(nn.Module, ABC):
    """Base of every model: subclass, take a view and flat keyword options, and define `embed`.

    A model keeps no graph: it is given the view it should look at, augmented or clean, at every call.
    Parameters that are made in the constructor are drawn from torch's global generator, which the caller
    seeds for that moment.
    """

    needs: ClassVar[frozenset[Part]] = frozenset()  # parts of a view that the model cannot do without
    batches: ClassVar[Literal["pairs", "users"]] = "pairs"  # an epoch is every click once, or every user once
    n_negatives: int = 1  # drawn for each pair

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

    def forward(self, view: GraphView) -> Embeddings:
        """`embed`, as torch calls it."""
        return self.embed(view)

    def embed_in_training(self, view: GraphView, rng: torch.Generator) -> Embeddings:
        """What a training step takes; for models whose forward pass draws, which `embed` never does.

        Args:
            view: the view of this step.
            rng: source of chance, on the device of the view.
        """
        return self.embed(view)

    def start_epoch(self, epoch: int) -> None:
        """Called before the first step of each epoch, from 1; for models with a schedule."""

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """Named scalar losses of one step, summed in the training loop; BPR on dot products by default.

        Args:
            out: what `embed` made of `view`.
            batch: the step's pairs.
            view: the view of this epoch; project only the batch's rows of its features.
        """
        rows = out.rows(batch)
        return {"bpr": bpr_loss(rows.users, rows.items - rows.negatives)}

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
