"""A split that is to be found, made ready once for many evaluations."""

from __future__ import annotations

import torch
from torch import Tensor

from mmrec.errors import DataError
from mmrec.graph.known import Known
from mmrec.graph.view import GraphView


class HeldOut:
    """A split that is to be found, made ready: who is looked at, what they clicked, what is left out."""

    def __init__(self, view: GraphView, held_out: Tensor, also_known: Tensor | None) -> None:
        """Sort and count, see `Evaluator.prepare`."""
        self.num_items, self.only_train = view.num_items, also_known is None
        known = view.edge_index
        if also_known is not None:
            known = torch.cat([known, also_known.to(known.device)], dim=1)
        warm_user = torch.bincount(view.edge_index[0], minlength=view.num_users) > 0
        self.cold_item = torch.bincount(view.edge_index[1], minlength=view.num_items) == 0
        users = torch.unique(held_out[0])
        self.cold_users = int((~warm_user[users]).sum())
        self.users = users[warm_user[users]]
        if len(self.users) == 0:
            raise DataError(
                f"nothing to evaluate: none of the {self.cold_users} users with a held-out click has a "
                "training click; choose another data.split"
            )
        held_out = held_out[:, warm_user[held_out[0]]]
        self.relevant = torch.sort(held_out[0] * view.num_items + held_out[1]).values
        is_cold = self.cold_item[held_out[1]]
        self.cold_item_clicks = int(is_cold.sum())
        self.counts = torch.bincount(held_out[0], minlength=view.num_users)
        self.cold_counts = torch.bincount(held_out[0][is_cold], minlength=view.num_users)
        self.known = Known(known, view.num_users)

    def contains(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether users [b] clicked items [b, K] in this split: bool [b, K]."""
        keys = users[:, None] * self.num_items + items
        place = torch.searchsorted(self.relevant, keys).clamp_(max=len(self.relevant) - 1)
        return self.relevant[place] == keys
