"""What helps a model in training: augmentations and auxiliary losses, made from a run's options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jsonargparse import Namespace

from mmrec.augment.base import Augmentation, Compose
from mmrec.auxiliary.base import Auxiliary
from mmrec.auxiliary.view_contrast import ViewContrast
from mmrec.config import make
from mmrec.errors import ConfigError
from mmrec.graph.view import GraphView
from mmrec.losses.contrast import Contrast


@dataclass(frozen=True)
class Helpers:
    """What training has besides the model: augmentations by when they are drawn, and auxiliary losses."""

    epoch: Augmentation | None
    step: Augmentation | None
    views: Augmentation | None
    contrast: dict[str, Any]
    auxiliary: Sequence[Namespace]

    @classmethod
    def of(cls, options: Namespace) -> Helpers:
        """Made now, so that what cannot be made is refused before the data are read."""
        augment = options.augment
        made = {
            name: Compose([make(Augmentation, plugin) for plugin in augment[name]]) if augment[name] else None
            for name in ("epoch", "step", "views")
        }
        contrast = make(Contrast, augment.contrast) if augment.contrast else None
        how = {"contrast": contrast, "redraw": augment.redraw, "against": augment.against}
        for name, default in (("contrast", None), ("redraw", "step"), ("against", "view")):
            if augment[name] != default and not made["views"]:
                found = f"augment.{name} is set and augment.views is not"
                raise ConfigError(f"{found}; name augmentations there")
        return cls(**made, contrast=how, auxiliary=options.auxiliary)

    def arguments(self, view: GraphView) -> dict[str, Any]:
        """Arguments of `fit`."""
        auxiliary = [make(Auxiliary, plugin, view) for plugin in self.auxiliary]
        if self.views:
            auxiliary.append(ViewContrast(view, augmentation=self.views, **self.contrast))
        return {"augment": self.epoch, "augment_step": self.step, "auxiliary": auxiliary}
