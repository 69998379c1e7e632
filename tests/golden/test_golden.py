from __future__ import annotations

import json

import pytest

from mmrec.models.base import Recommender
from mmrec.plugins import known
from tests.golden import rewrite


@pytest.mark.parametrize("name", rewrite.CASES)
def test_losses_are_what_they_were(name: str) -> None:
    kept = json.loads(rewrite.PATH.read_text())
    assert list(kept) == list(rewrite.CASES), "run: python -m tests.golden.rewrite"
    assert rewrite.compute(name) == pytest.approx(kept[name]["values"], rel=1e-9, abs=1e-12)


def test_every_trained_model_has_one() -> None:
    untrained = {"ContentKNN", "EASE", "GFCF", "ItemKNN", "Popularity"}
    models = set(known(Recommender)) - untrained  # type: ignore[type-abstract]
    assert models == {case[0] for case in rewrite.CASES.values()}
