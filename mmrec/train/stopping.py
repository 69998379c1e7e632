"""Early stopping."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Watches a number that should rise; values are compared as they are, never rounded.

    Attributes:
        patience: evaluations without a new best that are put up with; training stops at the one after (as
            MMRec does).
        best: highest value so far.
        best_epoch: when it was reached.
        waited: evaluations since then.
    """

    patience: int
    best: float = float("-inf")
    best_epoch: int = 0
    waited: int = 0

    def update(self, value: float, epoch: int) -> bool:
        """Take in an evaluation; True if it is a new best."""
        if value > self.best:
            self.best, self.best_epoch, self.waited = value, epoch, 0
            return True
        self.waited += 1
        return False

    @property
    def done(self) -> bool:
        """True once patience is used up."""
        return self.waited > self.patience
