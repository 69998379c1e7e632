"""Training pairs and negatives, drawn as tensor operations on the device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mmrec.errors import DataError
from mmrec.graph.view import GraphView
from mmrec.models.base import Batch


class PairSampler:
    """All training clicks once per epoch in random order, each with one negative (MMRec's protocol).

    A negative is uniform over the items that have a training click, drawn again until the user has not
    clicked it in training; valid and test clicks may be drawn, as leaving them out would leak them. Users who
    have clicked every such item have no negative: their pairs are left out and counted in `pairs_left_out`.
    """

    def __init__(self, view: GraphView, batch_size: int, *, negatives: int = 1) -> None:
        """Prepare the look-up of clicks.

        Args:
            view: the clean training view, on the device where batches are to be drawn.
            batch_size: pairs per batch, at least 1; the last batch of an epoch is smaller.
            negatives: items drawn for each pair; several are drawn batch by batch, [B, n].

        Raises:
            DataError: if no user has a negative.
        """
        users, items = view.edge_index
        self.num_items = view.num_items
        self.clicked = torch.sort(users * self.num_items + items).values
        self.candidates = torch.bincount(items, minlength=view.num_items).nonzero().squeeze(1)
        distinct = torch.unique_consecutive(self.clicked)
        degree = torch.bincount(distinct // self.num_items, minlength=view.num_users)
        usable = degree[users] < len(self.candidates)
        self.pairs = view.edge_index[:, usable]
        self.pairs_left_out = int((~usable).sum())
        self.batch_size, self.negatives = batch_size, negatives
        if self.pairs.shape[1] == 0:
            count = len(self.candidates)
            raise DataError(f"no negatives: each user has clicked all {count} items of the training split")

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-self.pairs.shape[1] // self.batch_size)

    def epoch(self, rng: torch.Generator) -> Iterator[Batch]:
        """The batches of one epoch.

        Args:
            rng: source of chance, on the device of the view.
        """
        device = self.pairs.device
        users, items = self.pairs[:, torch.randperm(self.pairs.shape[1], generator=rng, device=device)]
        yield from self._batches(users, items, rng)

    def sample(self, rng: torch.Generator) -> Batch:
        """One batch beside the epochs, of pairs drawn with replacement."""
        count = self.pairs.shape[1]
        size = (min(self.batch_size, count),)
        places = torch.randint(count, size, generator=rng, device=self.pairs.device)
        users, items = self.pairs[:, places]
        return next(self._batches(users, items, rng))

    def _batches(self, users: Tensor, items: Tensor, rng: torch.Generator) -> Iterator[Batch]:
        all_negatives = self.draw_negatives(users, rng) if self.negatives == 1 else None
        for start in range(0, len(users), self.batch_size):
            stop = start + self.batch_size
            some = users[start:stop]
            if all_negatives is not None:
                negatives = all_negatives[start:stop]
            else:
                repeated = some.repeat_interleave(self.negatives)
                negatives = self.draw_negatives(repeated, rng).view(len(some), self.negatives)
            yield Batch(some, items[start:stop], negatives, rng)

    def draw_negatives(self, users: Tensor, rng: torch.Generator) -> Tensor:
        """An item that each of users [n] has not clicked in training: [n]."""
        negatives = self._draw(len(users), rng)
        again = self._is_clicked(users, negatives).nonzero().squeeze(1)
        while len(again):
            negatives[again] = self._draw(len(again), rng)
            again = again[self._is_clicked(users[again], negatives[again])]
        return negatives

    def _draw(self, count: int, rng: torch.Generator) -> Tensor:
        places = torch.randint(len(self.candidates), (count,), generator=rng, device=self.candidates.device)
        return self.candidates[places]

    def _is_clicked(self, users: Tensor, items: Tensor) -> Tensor:
        key = users * self.num_items + items
        place = torch.searchsorted(self.clicked, key).clamp_(max=len(self.clicked) - 1)
        return self.clicked[place] == key


class UserSampler(PairSampler):
    """All users with a training click once per epoch in random order, each with one of their items."""

    def __init__(self, view: GraphView, batch_size: int, *, negatives: int = 1) -> None:
        """Sort the clicks by user; arguments as for pairs."""
        super().__init__(view, batch_size, negatives=negatives)
        self.pairs = self.pairs[:, torch.argsort(self.pairs[0], stable=True)]
        self.distinct, self.count = torch.unique_consecutive(self.pairs[0], return_counts=True)
        self.start = self.count.cumsum(0) - self.count

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self.distinct) // self.batch_size)

    def epoch(self, rng: torch.Generator) -> Iterator[Batch]:
        """The batches of one epoch."""
        device = self.pairs.device
        order = torch.randperm(len(self.distinct), generator=rng, device=device)
        share = torch.rand(len(order), generator=rng, device=device, dtype=torch.float64)
        place = self.start[order] + (share * self.count[order]).long()
        yield from self._batches(self.distinct[order], self.pairs[1, place], rng)
