"""Contrast between two augmented views of the graph."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmrec.augment.base import Augmentation
from mmrec.augment.drawing import draw, draw_pair
from mmrec.auxiliary.base import Auxiliary
from mmrec.graph.view import GraphView
from mmrec.losses.contrast import Contrast, InfoNCE
from mmrec.models.base import Batch, Embeddings, Recommender

Redraw = Literal["step", "epoch"]
Against = Literal["view", "clean"]


class ViewContrast(Auxiliary):
    """Embeddings of the same user or item in two views have to agree (SGL, Wu et al. 2021, eq. 10-11).

    `augment.views` makes one of these; SGL, SimGCL and LightGCL are LightGCN with it.
    """

    def __init__(
        self,
        view: GraphView,
        *,
        augmentation: Augmentation,
        contrast: Contrast | None = None,
        redraw: Redraw = "step",
        against: Against = "view",
    ) -> None:
        """Keep the parts.

        Args:
            view: the training view.
            augmentation: makes the views.
            contrast: the loss between them; InfoNCE over the batch by default.
            redraw: draw views anew each `step`, or each `epoch` (SGL), which costs less.
            against: contrast the two views with each other, or one `view` with the `clean` graph (LightGCL).
        """
        super().__init__()
        self.augmentation, self.contrast = augmentation, contrast or InfoNCE()
        self.redraw, self.against = redraw, against
        self.epoch = 1
        self.views: tuple[GraphView, ...] = ()
        self.clean: GraphView | None = None

    def start(self, clean: GraphView) -> None:
        """Keep the clean view, to contrast with."""
        self.clean = clean

    def start_epoch(self, epoch: int, view: GraphView, rng: torch.Generator) -> None:
        """Draw the epoch's views, if they are to be the same for all its steps."""
        self.epoch = epoch
        self.views = self._draw(view, rng) if self.redraw == "epoch" else ()

    def losses(
        self, model: Recommender, view: GraphView, out: Embeddings, batch: Batch, rng: torch.Generator
    ) -> dict[str, Tensor]:
        """`contrast`: the loss over the distinct users and clicked items of the batch."""
        users, items = torch.unique(batch.users), torch.unique(batch.items)
        made = [model.embed_in_training(one, batch.rng) for one in self.views or self._draw(view, rng)]
        first, second = made if len(made) == 2 else (made[0], self._of_clean(model, view, out, batch))
        if self.contrast.needs_all:
            return {
                "contrast": self.contrast(first.users[users], second.users[users], second.users)
                + self.contrast(first.items[items], second.items[items], second.items)
            }
        (users_1, items_1), (users_2, items_2) = first.of(users, items), second.of(users, items)
        return {"contrast": self.contrast(users_1, users_2) + self.contrast(items_1, items_2)}

    def _of_clean(self, model: Recommender, view: GraphView, out: Embeddings, batch: Batch) -> Embeddings:
        """`out`, unless `augment.epoch` or `augment.step` have made another view of the clean one."""
        if self.clean is None or view is self.clean:
            return out
        return model.embed_in_training(self.clean, batch.rng)

    def _draw(self, view: GraphView, rng: torch.Generator) -> tuple[GraphView, ...]:
        augmentation = self.augmentation.at(self.epoch)
        if self.against == "clean":
            return (draw(augmentation, view, rng),)
        return draw_pair(augmentation, view, rng)
