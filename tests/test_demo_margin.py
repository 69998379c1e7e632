"""On the demo FREEDOM beats LightGCN, and LightGCN Popularity, whatever the seed; trained here and now.

Over all items: the lead over LightGCN comes from items without a training click (experiments/demo/README.md).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mmrec.config import parse
from mmrec.run import run


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_seed_reverses_the_order(seed: int, cache: Path, tmp_path: Path) -> None:
    words = ["--seed", str(seed), "--cache_dir", str(cache), "--run_dir", str(tmp_path / "run")]
    metrics = run(
        parse([*words, "--train.epochs", "40"])
    )  # under half of what they need: the order shows already
    freedom = metrics["test"]["recall@20"]
    lightgcn, popularity = (
        metrics["compare"][name]["test"]["recall@20"] for name in ("LightGCN", "Popularity")
    )
    assert freedom > 1.05 * lightgcn
    assert lightgcn > 1.5 * popularity
    cold = [metrics["groups"]["test"], metrics["compare"]["LightGCN"]["groups"]["test"]]
    assert cold[0]["cold_items"]["recall@20"] > 0.1 > cold[1]["cold_items"]["recall@20"]
