"""Any torch_geometric transform as an augmentation."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import torch

from mmrec.augment.base import Augmentation
from mmrec.errors import GraphError
from mmrec.graph.view import GraphView
from mmrec.train.streams import draw_seed, seeded


class PygTransform(Augmentation):
    """Hands the view to a torch_geometric transform as `HeteroData` and takes back what it returns.

    The view is (user, clicks, item), (item, near, item), and features under their modality's names. Chance
    that the transform takes from torch's global generator comes from this augmentation's own.
    """

    def __init__(
        self,
        transform: str = "torch_geometric.transforms.AddSelfLoops",
        options: dict[str, Any] | None = None,
    ) -> None:
        """Make the transform.

        Args:
            transform: import path of its class.
            options: its arguments.

        Raises:
            GraphError: if it cannot be imported, or refuses its arguments.
        """
        module, _, name = transform.rpartition(".")
        try:
            self.transform = getattr(importlib.import_module(module), name)(**(options or {}))
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise GraphError(
                f"PygTransform.transform is '{transform}', which cannot be made ({error})"
            ) from error

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        """The view as the transform leaves it.

        Raises:
            GraphError: if the transform returns something else than one HeteroData with the same nodes.
        """
        from torch_geometric.data import HeteroData

        with seeded(draw_seed(rng), "transform"):
            data = self.transform(view.to_pyg())
        if not isinstance(data, HeteroData):
            found = type(data).__name__
            raise GraphError(f"PygTransform: the transform returned {found}, expected one HeteroData")
        made = GraphView.from_pyg(data)
        if (made.num_users, made.num_items) != (view.num_users, view.num_items):
            found = f"{made.num_users} users and {made.num_items} items"
            raise GraphError(f"PygTransform: the transform left {found}; it must keep the nodes")
        return replace(
            view,
            edge_index=made.edge_index,
            edge_weight=made.edge_weight,
            item_edge_index=made.item_edge_index,
            item_edge_weight=made.item_edge_weight,
            features=made.features,
            present=made.present,
        )
