"""The conformance suite over every model there is; a new file in `mmrec/models` is in it by existing."""

from __future__ import annotations

from typing import Any

from mmrec.models.base import Recommender
from mmrec.plugins import known
from tests.cases.model_cases import ModelCase

DIFFERENT: dict[str, dict[str, Any]] = {
    "AlphaRec": {"by_content": True},
    "AMR": {"looks_at_clicks": False},
    "ContentKNN": {"by_content": True},
    "DGVAE": {"cannot_find_new_items": "the cross entropy of clicks pushes what nobody clicked away"},
    "VBPR": {"looks_at_clicks": False, "by_content": True},
    "BPRMF": {"looks_at_clicks": False},
    "Popularity": {"personal": False},
    "BM3": {
        "cannot_find_new_items": "features reach its losses on clicked items, never the vector of a new one"
    },
}

for name, kind in known(Recommender).items():  # type: ignore[type-abstract]
    members = {"model": kind, **DIFFERENT.get(name, {})}
    globals()[f"Test{name}"] = type(f"Test{name}", (ModelCase,), members)


def test_none_is_forgotten() -> None:
    models = known(Recommender)  # type: ignore[type-abstract]
    assert {"BM3", "BPRMF", "FREEDOM", "LightGCN", "Popularity"} <= set(models)
    assert {f"Test{name}" for name in models} <= set(globals())
