"""Models that score from what a user clicked, in closed form: nothing is trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from mmrec.graph.known import Known
from mmrec.graph.view import GraphView
from mmrec.models.base import Embeddings, Recommender

Rule = Callable[[Tensor], Tensor]


class Histories(Embeddings):
    """Clicks, and the rule from them to scores; there are no vectors, users and items are their numbers."""

    def __init__(self, view: GraphView, rule: Rule) -> None:
        """Sort the clicks by user.

        Args:
            view: whose clicks are looked at.
            rule: histories [B, I], 1 for a click, to scores [B, I].
        """
        device = view.edge_index.device
        numbers = (torch.arange(count, device=device) for count in (view.num_users, view.num_items))
        users, items = (number[:, None].float() for number in numbers)
        super().__init__(users, items)
        self.clicked, self.rule = Known(view.edge_index, view.num_users), rule

    def scores(self, users: Tensor) -> Tensor:
        """Scores [B, I] of users [B]."""
        history = torch.zeros(len(users), len(self.items), device=users.device)
        history[self.clicked.of(users)] = 1
        return self.rule(history)


class FromHistories(Recommender):
    """Base of these models: define `rule`."""

    @abstractmethod
    def rule(self, view: GraphView) -> Rule:
        """What turns histories [B, I] into scores [B, I]; made once per evaluation."""

    def embed(self, view: GraphView) -> Embeddings:
        """The clicks of the view with the rule."""
        return Histories(view, self.rule(view))

    def score(self, out: Embeddings, users: Tensor) -> Tensor:
        """By the rule."""
        assert isinstance(out, Histories)
        return out.scores(users)
