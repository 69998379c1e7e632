"""Looking up what users have clicked."""

from __future__ import annotations

import torch
from torch import Tensor


class Known:
    """Items by user: sorted once, looked up for every batch of users."""

    def __init__(self, pairs: Tensor, num_users: int) -> None:
        """Sort.

        Args:
            pairs: int64 [2, m], users and items.
            num_users: U.
        """
        self.items = pairs[1, torch.argsort(pairs[0], stable=True)]
        self.start = torch.zeros(num_users + 1, dtype=torch.int64, device=pairs.device)
        torch.cumsum(torch.bincount(pairs[0], minlength=num_users), dim=0, out=self.start[1:])

    def of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Where the known items of users [b] are in a table [b, I]: rows and columns."""
        count = self.start[users + 1] - self.start[users]
        row = torch.repeat_interleave(torch.arange(len(users), device=users.device), count)
        first = torch.repeat_interleave(self.start[users] - (count.cumsum(0) - count), count)
        return row, self.items[first + torch.arange(len(row), device=users.device)]
