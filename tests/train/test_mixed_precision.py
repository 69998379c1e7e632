"""Every model and every helper trains in mixed precision, to the loss it has in full precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from mmrec.augment.edge_drop import EdgeDrop
from mmrec.auxiliary.adversarial_feature import AdversarialFeature
from mmrec.auxiliary.base import Auxiliary
from mmrec.auxiliary.rlmrec import RLMRec
from mmrec.auxiliary.view_contrast import ViewContrast
from mmrec.evaluate.evaluator import Scores
from mmrec.graph.view import GraphView
from mmrec.losses.contrast import Contrast
from mmrec.models.base import Recommender
from mmrec.plugins import known
from mmrec.train.loop import fit
from tests.cases.model_cases import ModelCase
from tests.cases.planted import tiny_view

MODELS = known(Recommender)  # type: ignore[type-abstract]
TRAINED = sorted(name for name, kind in MODELS.items() if list(kind(tiny_view()).parameters()))


def contrasted(kind: type[Contrast]) -> Callable[[GraphView], Auxiliary]:
    return lambda view: ViewContrast(view, augmentation=EdgeDrop(0.3), contrast=kind())


# name: the model, and what helps it; SIGE and AlphaRec have the adversary go back through losses and products
HELPERS: dict[str, tuple[str, Callable[[GraphView], Auxiliary]]] = {
    "RLMRec, contrastive": ("LightGCN", lambda view: RLMRec(view, dim=16)),
    "RLMRec, generative": ("LightGCN", lambda view: RLMRec(view, dim=16, how="generative")),
    "AdversarialFeature, SIGE": ("SIGE", AdversarialFeature),
    "AdversarialFeature, AlphaRec": ("AlphaRec", AdversarialFeature),
    **{
        f"ViewContrast, {name}": ("LightGCN", contrasted(kind))
        for name, kind in known(Contrast).items()  # type: ignore[type-abstract]
    },
}


def trained(
    name: str, backend: Any, precision: Any, helper: Callable[[GraphView], Auxiliary] | None = None
) -> tuple[Recommender, float]:
    """A model after one step, and the step's loss."""
    view = replace(tiny_view(), backend=backend)
    case = type("Case", (ModelCase,), {"model": MODELS[name]})()
    model = case.make(view)
    torch.manual_seed(0)
    auxiliary = [helper(view)] if helper else []
    options: dict[str, Any] = {"auxiliary": auxiliary, "epochs": 1, "batch_size": 100, "lr": 0.01}
    scores = Scores({"recall@20": 1.0}, 1, 0, 0)
    history = fit(model, view, lambda *_: scores, device="cpu", precision=precision, **options)
    for part in (model, *auxiliary):
        for parameter in part.parameters():
            assert parameter.dtype == torch.float32
            assert parameter.isfinite().all()
    return model, history.rows[-1]["loss"]


@pytest.mark.parametrize("backend", ["auto", "csr"])  # what there is with a compiler, and without or on a GPU
@pytest.mark.parametrize("name", TRAINED)
def test_mixed_precision_trains_with_float32_weights(name: str, backend: str) -> None:
    before = type("Case", (ModelCase,), {"model": MODELS[name]})().make(tiny_view())
    model, loss = trained(name, backend, "bf16-mixed")
    old = before.state_dict()
    assert any(not torch.equal(weight, old[key]) for key, weight in model.state_dict().items())
    assert loss == pytest.approx(trained(name, backend, "32-true")[1], rel=0.02, abs=0.02)


@pytest.mark.parametrize("backend", ["auto", "csr"])
@pytest.mark.parametrize("name", HELPERS)
def test_mixed_precision_beside_a_helper(name: str, backend: str) -> None:
    model, helper = HELPERS[name]
    _, loss = trained(model, backend, "bf16-mixed", helper)
    assert loss == pytest.approx(trained(model, backend, "32-true", helper)[1], rel=0.02, abs=0.02)


def test_no_helper_is_forgotten() -> None:
    assert {name.split(",")[0] for name in HELPERS} == set(known(Auxiliary))  # type: ignore[type-abstract]
