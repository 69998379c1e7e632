"""Any torch_geometric transform as an augmentation."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import torch

from mmrec.augment.base import Augmentation
from mmrec.augment.changes import PARTS, changed_parts
from mmrec.errors import GraphError
from mmrec.graph.view import GraphView
from mmrec.train.streams import draw_seed, seeded

log = logging.getLogger("mmrec")


class PygTransform(Augmentation):
    """Hands the view to a torch_geometric transform as `HeteroData` and takes back what it returns.

    The view is (user, clicks, item), (item, near, item), and features under their modality's names; other
    nodes and edges that a transform makes are left out. Chance that the transform takes from torch's global
    generator comes from this augmentation's own.
    """

    def __init__(self, transform: str, options: dict[str, Any] | None = None) -> None:
        """Make the transform.

        Args:
            transform: import path of its class, such as torch_geometric.transforms.AddSelfLoops.
            options: its arguments.

        Raises:
            GraphError: if it cannot be imported, refuses its arguments, or is no transform.
        """
        module, _, self.name = transform.rpartition(".")
        try:
            made = getattr(importlib.import_module(module), self.name)(**(options or {}))
        except Exception as error:  # somebody else's code: whatever it raises has to say whose it was
            raise GraphError(
                f"PygTransform.transform is '{transform}', which cannot be made ({_reason(error)})"
            ) from error
        if not callable(made):
            found = f"which makes a {type(made).__name__}"
            raise GraphError(f"PygTransform.transform is '{transform}', {found}, expected a transform")
        self.transform = made
        self._said = False

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """The view as the transform leaves it.

        Raises:
            GraphError: if the transform fails, or returns something else than one HeteroData with the same
                nodes.
        """
        from torch_geometric.data import HeteroData

        who = f"PygTransform: {self.name}"
        try:
            with seeded(draw_seed(rng), "transform"):
                data = self.transform(view.to_pyg())
        except Exception as error:
            raise GraphError(f"{who} cannot be applied to this graph ({_reason(error)})") from error
        if not isinstance(data, HeteroData):
            raise GraphError(f"{who} returned {type(data).__name__}, expected one HeteroData")
        try:
            made = GraphView.from_pyg(data)
        except Exception as error:
            raise GraphError(f"{who} left what is no graph of clicks ({_reason(error)})") from error
        if (made.num_users, made.num_items) != (view.num_users, view.num_items):
            found = f"{made.num_users} users and {made.num_items} items"
            raise GraphError(f"{who} left {found}; it must keep the nodes")
        new = {name: getattr(made, name) for name in changed_parts(view, made) if name in PARTS}
        if not new and not self._said:
            self._said = True
            log.warning("%s left the graph as it was; are its options those for this graph?", who)
        return view.changed(**new)


def _reason(error: Exception) -> str:
    """The error in one line: an assertion and many a KeyError say nothing without their kind."""
    text = " ".join(str(error).split())
    if isinstance(error, GraphError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
