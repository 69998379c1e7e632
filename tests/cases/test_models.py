"""The conformance suite over every model there is; a new file in `mmrec/models` is in it by existing."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from mmrec.models.base import Recommender
from mmrec.plugins import known
from tests.cases.model_cases import ModelCase

DIFFERENT: dict[str, dict[str, Any]] = {
    "AlphaRec": {"by_content": True},
    "AMR": {"looks_at_clicks": False},
    "ContentKNN": {"by_content": True},
    "DGVAE": {"cannot_find_new_items": "the cross entropy of clicks pushes what nobody clicked away"},
    "LATTICE": {"learns_item_graph": True},
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
    """Every class of the folder that says how it embeds is one that the suite runs over."""
    folder = Path(__file__).resolve().parents[2] / "mmrec" / "models"
    classes = [
        node.name
        for path in folder.glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and any(getattr(part, "name", "") == "embed" for part in node.body)
    ]
    suites = {one.model.__name__ for one in globals().values() if _is_suite(one)}
    assert set(classes) - {"FromHistories", "Recommender"} <= suites  # those two are abstract
    assert suites == set(known(Recommender))  # type: ignore[type-abstract]
    assert set(DIFFERENT) <= suites, "an entry for a class that is no more"


def _is_suite(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, ModelCase) and one is not ModelCase
