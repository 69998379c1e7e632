"""What is timed: a model on the real Amazon-Baby split, as this project and as MMRec have it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrec.augment.base import Augmentation
from mmrec.augment.degree_drop import DegreeDrop
from mmrec.data.dataset import load_data
from mmrec.evaluate.evaluator import Scores
from mmrec.graph.item_graph import add_item_graph
from mmrec.graph.view import GraphView
from mmrec.models.base import Recommender
from mmrec.models.bm3 import BM3
from mmrec.models.freedom import FREEDOM
from mmrec.models.lightgcn import LightGCN
from mmrec.train.loop import fit

FULL, REDUCED = {"image": 4096, "text": 384}, {"image": 512, "text": 384}


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes:
        model: the class; MMRec's has the same name.
        options: ours.
        peer: MMRec's, for the same thing.
        widths: columns of our features; MMRec always has all of them.
        augment: ours, drawn each epoch.
        goal: how many times faster than MMRec it should be.
    """

    model: type[Recommender]
    options: dict[str, Any]
    peer: dict[str, Any]
    goal: float
    widths: dict[str, int] | None = None
    augment: Augmentation | None = None

    @property
    def peer_widths(self) -> dict[str, int]:
        """Columns of MMRec's features."""
        return FULL if self.widths else {}


def _lightgcn(n_layers: int) -> Case:
    options = {"n_layers": n_layers, "reg": 1e-3, "l2": "unsquared", "init": "xavier"}
    return Case(LightGCN, options, {"n_layers": n_layers, "reg_weight": 1e-3}, goal=10)


def _freedom(goal: float, widths: dict[str, int], **options: Any) -> Case:
    peer = {"n_ui_layers": 2, "n_mm_layers": 1, "reg_weight": 1e-3, "dropout": 0.8}
    return Case(FREEDOM, options, peer, goal, widths, DegreeDrop(0.8))


def _bm3(goal: float, widths: dict[str, int], **options: Any) -> Case:
    return Case(BM3, options, {"n_layers": 1, "reg_weight": 0.1, "dropout": 0.5}, goal, widths)


CASES = {
    "LightGCN, 2 layers": _lightgcn(2),
    "LightGCN, 4 layers": _lightgcn(4),
    "FREEDOM, trainable features": _freedom(4, FULL, trainable_features=True),
    "FREEDOM, frozen features": _freedom(6, FULL),
    "FREEDOM, frozen, 512 columns": _freedom(20, REDUCED),
    "BM3, trainable features": _bm3(5, FULL, trainable_features=True),
    "BM3, frozen features": _bm3(7, FULL),
    "BM3, frozen, 512 columns": _bm3(20, REDUCED),
}


def baby(folder: Path) -> tuple[GraphView, Tensor, Tensor]:
    """The real split with FREEDOM's graph: the training view, valid and test clicks."""
    data = load_data(interactions="baby.inter", split="labels", root=folder)
    view = add_item_graph(data.train, edges={"fused": "freedom_item_graph.npz"}, root=folder)
    return view, data.valid, data.test.open()


def with_features(view: GraphView, widths: dict[str, int] | None) -> GraphView:
    """Made-up features: what they say has no part in how long a step takes."""
    draw = torch.Generator().manual_seed(0)
    features = {
        name: torch.randn(view.num_items, width, generator=draw) for name, width in (widths or {}).items()
    }
    present = {name: torch.ones(view.num_items, dtype=torch.bool) for name in features}
    return replace(view, features=features, present=present)


def train(case: Case, view: GraphView, *, epochs: int, device: str, between: Any = None) -> list[float]:
    """Seconds of each epoch in the real loop; `between` is called after each, off the clock."""

    def validate(model: Recommender, view: GraphView) -> Scores:
        if between is not None:
            between()
        return Scores({"recall@20": 0.0}, users=1, cold_users=0, cold_item_clicks=0)

    view = with_features(view, case.widths)
    torch.manual_seed(0)
    history = fit(
        case.model(view, **case.options),
        view,
        validate,
        augment=case.augment,
        epochs=epochs,
        patience=epochs,
        device=device,  # type: ignore[arg-type]
    )
    return [row["train_seconds"] for row in history.rows]
