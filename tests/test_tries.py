"""Settings are what their recorded tries chose on valid, and a try leaves the test split alone."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml
from jsonargparse import Namespace

from experiments import pool
from experiments.seeds import read_results
from experiments.tries import COLUMNS, main, tries, words
from mmrec.config import parse
from tests.cases.shop import make_shop

STUDIES = {path.parent.name: path.parent for path in pool.ROOT.glob("experiments/*/tries.yaml")}
MADE = {name: read_results(study / "tries.csv") for name, study in STUDIES.items()}
# A config of what was found, where that is not the one that was tried.
FOUND = {"configs/baby/freedom.yaml": "configs/baby/discovery.yaml"}


@pytest.mark.parametrize("name", STUDIES)
def test_every_try_was_made_and_kept(name: str) -> None:
    kept = [(row["config"], row["options"]) for row in MADE[name]]
    assert sorted(kept) == sorted(tries(STUDIES[name]))


@pytest.mark.parametrize("config", sorted({row["config"] for rows in MADE.values() for row in rows}))
def test_no_try_of_a_config_is_better_by_a_fiftieth(config: str) -> None:
    """One seed says no more."""
    rows = [row for made in MADE.values() for row in made if row["config"] == config]
    best = max(float(row["valid_recall@20"]) for row in rows)
    found = parse(["--config", str(pool.ROOT / FOUND.get(config, config)), "--name", "same"])
    own = [row for row in rows if tried(config, row["options"]) == found]
    assert len(own) == 1, "none of the tries, or several, are the config as it is"
    assert float(own[0]["valid_recall@20"]) > 0.98 * best


def tried(config: str, options: str) -> Namespace:
    return parse(["--config", str(pool.ROOT / config), "--name", "same", *shlex.split(options)])


def test_tries_are_made_once_with_test_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, config = make_shop(tmp_path / "shop"), tmp_path / "config.yaml"
    config.write_text(
        f"root: {shop.folder}\ncache_dir: {tmp_path / 'cache'}\n"
        "data: {interactions: clicks.csv, split: labels}\nmodel: ItemKNN\n"
    )
    listed = {str(config): ["", "--model Popularity"]}
    (tmp_path / "tries.yaml").write_text(yaml.safe_dump(listed))
    assert main([str(tmp_path)]) == 0
    rows = read_results(tmp_path / "tries.csv")
    assert sorted(row["options"] for row in rows) == listed[str(config)]
    assert len({row["valid_ndcg@20"] for row in rows}) == 2
    assert set(rows[0]) == set(COLUMNS)
    monkeypatch.setattr("experiments.pool.subprocess.run", lambda *_, **__: pytest.fail("made again"))
    assert main([str(tmp_path)]) == 0


def test_a_try_is_a_run_that_cannot_see_test() -> None:
    run = words(("configs/demo/itemknn.yaml", "--model.k 7"), Path("folder"))
    options = parse(run[1:])
    assert (options.open_test, options.compare, options.model.init_args.k) == (False, [], 7)


def test_a_study_without_tries_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nothing"])
    assert "nothing has no tries.yaml; studies that have one: discovery, settings" in capsys.readouterr().err
