"""Features moved against the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmrec.augment.embedding_noise import check_scale
from mmrec.auxiliary.base import Auxiliary
from mmrec.errors import ConfigError
from mmrec.graph.view import GraphView
from mmrec.models.base import Batch, Embeddings, Part, Recommender
from mmrec.precision import full_precision

_PENALTIES = {"l2"}  # losses that are no ranking: moved features must not lift them


def adversarial_view(
    view: GraphView, loss: Callable[[GraphView], Tensor], epsilon: float, *, who: str = "the model"
) -> GraphView:
    """The view with each item's features moved by `epsilon` in the direction that raises the loss most.

    An item's direction is that of the loss's gradient over all modalities together (AMR, Tang et al. 2020,
    eq. 6); items that the loss does not look at stay where they are. No gradient reaches the step itself.

    Args:
        view: the view to disturb.
        loss: of a view.
        epsilon: length of the step.
        who: whose loss it is, for the error.

    Raises:
        ConfigError: if the loss does not look at the view's features.
    """
    start = {name: rows.detach().clone().requires_grad_() for name, rows in view.features.items()}
    with torch.enable_grad():
        value = loss(view.changed(features=start))
        # As training takes its own gradients: outside of autocast, which is for forward passes.
        found = full_precision(torch.autograd.grad)(value, list(start.values()), allow_unused=True)
    if all(gradient is None for gradient in found):
        reason = f"the ranking loss of {who} does not look at the view's features as it is set"
        raise ConfigError(f"{reason}, so that no adversary can move them; choose a model that reads them")
    gradients = [
        torch.zeros_like(rows) if gradient is None else gradient
        for rows, gradient in zip(start.values(), found, strict=True)
    ]
    # Gradients of a mean are tiny: scaled up first, or the floor of `normalize` would shorten the step.
    together = torch.cat(gradients, dim=1)
    together = together / together.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(together.dtype).tiny)
    steps = torch.split(epsilon * normalize(together, dim=1), [one.shape[1] for one in gradients], dim=1)
    moved = {name: rows.detach() + step for (name, rows), step in zip(start.items(), steps, strict=True)}
    return view.changed(features=moved)


class AdversarialFeature(Auxiliary):
    """The model's ranking loss once more, on features that an adversary has moved (AMR, eq. 7-9).

    That is all its losses but `l2`. For any model that reads its features from the view in every step, so not
    for `trainable_features: true`, and not for LightGCN or MMHCL, which is said in the first step. A step
    costs about three times as much.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"features"})

    def __init__(self, view: GraphView, *, epsilon: float = 0.1, weight: float = 1.0) -> None:
        """Set the strength.

        Args:
            view: the training view; needs features.
            epsilon: length of the step, as a share of the features' mean length.
            weight: of the losses.
        """
        super().__init__()
        self.weight = check_scale("AdversarialFeature.weight", weight)
        lengths = torch.cat([rows.float() for rows in view.features.values()], dim=1).norm(dim=1)
        seen = lengths[lengths > 0]
        self.epsilon = check_scale("AdversarialFeature.epsilon", epsilon) * (
            float(seen.mean()) if len(seen) else 1.0
        )

    def losses(
        self, model: Recommender, view: GraphView, out: Embeddings, batch: Batch, rng: torch.Generator
    ) -> dict[str, Tensor]:
        """`adversarial`: the sum of the model's losses but `l2` on the moved features.

        Raises:
            ConfigError: if these do not look at the view's features.
        """

        def loss(moved: GraphView) -> Tensor:
            losses = model.losses(model.embed_in_training(moved, batch.rng), batch, moved)
            return torch.stack([value for name, value in losses.items() if name not in _PENALTIES]).sum()

        moved = adversarial_view(view, loss, self.epsilon, who=type(model).__name__)
        return {"adversarial": self.weight * loss(moved)}
