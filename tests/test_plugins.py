from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from mmrec.augment.base import Augmentation
from mmrec.augment.edge_drop import EdgeDrop
from mmrec.errors import ConfigError
from mmrec.models.base import Recommender
from mmrec.models.freedom import FREEDOM
from mmrec.models.lightgcn import LightGCN
from mmrec.plugins import known, resolve
from tests.cases.planted import Scripted, rng, tiny_view

OUTSIDE = '''
import torch

from mmrec.augment.base import Augmentation
from mmrec.graph.view import GraphView


class DropFirst(Augmentation):
    """Drops the first clicks."""

    def __init__(self, count: int = 1) -> None:
        self.count = count

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        return view.with_edges(torch.arange(self.count, view.edge_index.shape[1]))


class EdgeDrop(DropFirst):
    """Has the name of one of the project's own."""


class Unfinished(Augmentation):
    pass


NUMBER = 3
'''


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of somebody else's."""
    name = f"outside_{tmp_path.name}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "first.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"{name}.first"


def test_every_file_is_imported_to_know_what_is_there() -> None:
    found = known(Recommender)  # type: ignore[type-abstract]
    assert {"BM3", "BPRMF", "FREEDOM", "LightGCN", "Popularity"} <= set(found)
    assert all(
        f"mmrec.models.{Path(sys.modules[kind.__module__].__file__ or '').stem}" in sys.modules
        for kind in found.values()
    )
    assert {"Compose", "DegreeDrop", "EdgeDrop"} <= set(known(Augmentation))  # type: ignore[type-abstract]


def test_abstract_and_foreign_classes_have_no_short_name() -> None:
    assert issubclass(Scripted, Recommender)
    found = known(Recommender)  # type: ignore[type-abstract]
    assert "Scripted" not in found
    assert "Recommender" not in found


def test_by_name_and_by_path() -> None:
    assert resolve(Recommender, "FREEDOM", "model") is FREEDOM  # type: ignore[type-abstract]
    assert resolve(Recommender, "mmrec.models.lightgcn.LightGCN", "model") is LightGCN  # type: ignore[type-abstract]


def test_a_class_from_a_package_outside(outside: str) -> None:
    kind = resolve(Augmentation, f"{outside}.DropFirst", "augment")  # type: ignore[type-abstract]
    view = tiny_view()
    assert torch.equal(kind(count=3)(view, rng()).edge_index, view.edge_index[:, 3:])


def test_it_does_not_take_over_a_name_of_ours(outside: str) -> None:
    theirs = resolve(Augmentation, f"{outside}.EdgeDrop", "augment")  # type: ignore[type-abstract]
    assert theirs is not EdgeDrop
    assert resolve(Augmentation, "EdgeDrop", "augment") is EdgeDrop  # type: ignore[type-abstract]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "LightGCM",
            r"model: no Recommender is called 'LightGCM'; did you mean 'LightGCN'\? .*, or an import",
        ),
        ("lightgcn", "did you mean 'LightGCN'"),
        ("", "no Recommender is called ''"),
        ("nowhere.Model", "'nowhere' cannot be imported .*; is it installed"),
        ("mmrec.models.nowhere.Model", "'mmrec.models.nowhere' cannot be imported"),
        ("..models.Model", "cannot be imported"),
        (
            "mmrec.models.lightgcn.LightGCM",
            r"'mmrec.models.lightgcn' has no 'LightGCM'; did you mean 'LightGCN'",
        ),
        ("mmrec.models.lightgcn.", "'mmrec.models.lightgcn' has no ''"),
        ("mmrec.augment.edge_drop.EdgeDrop", "is not a Recommender; subclass mmrec.models.base.Recommender"),
        ("mmrec.train.checkpoint._FORMAT", "is not a Recommender"),
        ("mmrec.models.base.Recommender", "'mmrec.models.base.Recommender' lacks embed; define it"),
    ],
)
def test_names_that_lead_nowhere_are_one_line(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        resolve(Recommender, name, "model")  # type: ignore[type-abstract]
    assert "\n" not in str(error.value)


def test_an_unfinished_class_says_what_it_lacks(outside: str) -> None:
    with pytest.raises(ConfigError, match="lacks __call__; define it"):
        resolve(Augmentation, f"{outside}.Unfinished", "augment")  # type: ignore[type-abstract]
