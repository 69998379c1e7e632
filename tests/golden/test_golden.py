from __future__ import annotations

import json

import pytest

from mmrec.models.base import Recommender
from mmrec.plugins import known
from tests.golden import rewrite

# Cosines of a kNN graph are float32 numbers, whose last digit is the processor's: it differed here.
FLOAT32_GRAPHS = {"REARM"}


@pytest.mark.parametrize("name", rewrite.CASES)
def test_losses_are_what_they_were(name: str) -> None:
    kept = json.loads(rewrite.PATH.read_text())
    assert list(kept) == list(rewrite.CASES), "run: python -m tests.golden.rewrite"
    close = 1e-6 if name in FLOAT32_GRAPHS else 1e-9
    assert rewrite.compute(name) == pytest.approx(kept[name]["values"], rel=close, abs=1e-12)


def test_every_trained_model_has_one() -> None:
    untrained = {"ContentKNN", "EASE", "GFCF", "ItemKNN", "Popularity"}
    models = set(known(Recommender)) - untrained  # type: ignore[type-abstract]
    assert models == {case[0] for case in rewrite.CASES.values()}
