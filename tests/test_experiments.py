"""What configs claim is what the studies' results.csv hold, and the results reach their goals."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

import pytest

from experiments.ledger import rows as ledger
from experiments.ledger.__main__ import is_needed
from experiments.ledger.headers import header
from experiments.ledger.table import README, tables
from experiments.seeds import by_config, read_results, result_line

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "configs").rglob("*.yaml")
    if path.parent.name not in ("data", "recipes")
)
LEDGER = ledger.by_config(ledger.own_rows())
RESULTS = {
    config: models
    for path in (ROOT / "experiments").glob("*/results.csv")
    if path != ledger.CSV
    for config, models in by_config(read_results(path)).items()
}


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_states_the_result_of_its_runs(config: str) -> None:
    text = (ROOT / config).read_text(encoding="utf-8")
    for model, rows in RESULTS.get(config, {}).items():
        assert [row["seed"] for row in rows] == ["0", "1", "2"]
        assert result_line(model, rows) in text
    if config in RESULTS:
        return
    if config in LEDGER:
        assert text.startswith(header(config, LEDGER[config]))
    else:
        assert text.startswith(f"# Not measured yet: python -m experiments.ledger {config}\n")


def test_the_ledgers_tables_are_those_of_its_rows() -> None:
    assert tables(ledger.read_rows()) in README.read_text(encoding="utf-8")
    assert set(LEDGER) <= set(CONFIGS)
    for config, rows in LEDGER.items():
        assert len({row["seed"] for row in rows}) == len(rows)
        assert {row["settings"] for row in rows} == {ledger.settings_of(config)}, "run the ledger again"


def test_a_row_of_former_settings_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = "configs/demo/bprmf.yaml"
    monkeypatch.setattr(ledger, "CSV", tmp_path / "ledger" / "results.csv")
    ledger.CSV.parent.mkdir()
    row = {"config": config, "seed": "0", "options": "", "epochs": "3", "run_seconds": "1"}
    ledger.add_row(json.dumps({**row, "settings": "former"}))
    assert is_needed((config, 0))
    ledger.add_row(json.dumps({**row, "settings": ledger.settings_of(config)}))
    ledger.add_row(json.dumps({**row, "seed": "1", "settings": ledger.settings_of(config)}))
    assert [one["seed"] for one in ledger.own_rows()] == ["0", "1"]
    assert [is_needed((config, seed)) for seed in (0, 1, 2)] == [False, False, True]


def test_settings_are_those_of_the_bases_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ROOT", tmp_path)
    for name, text in {
        "base": "seed: 1",
        "one": "name: a\nbase: base.yaml",
        "two": "base: base.yaml",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    before = ledger.settings_of("one.yaml")
    assert ledger.settings_of("two.yaml") == before
    (tmp_path / "base.yaml").write_text("seed: 2  # another")
    assert ledger.settings_of("one.yaml") != before


@pytest.mark.parametrize(
    ("config", "model", "goal"),
    [
        ("configs/baby/lightgcn.yaml", "LightGCN", 0.0735),
        ("configs/baby/freedom.yaml", "FREEDOM", 0.0975),
        ("configs/tiktok/lightgcn.yaml", "LightGCN", 0.0829),
        ("configs/tiktok/freedom.yaml", "FREEDOM", 0.0885),
        ("configs/tiktok/bm3.yaml", "BM3", 0.0620),
    ],
)
def test_recorded_results_reach_their_goals(config: str, model: str, goal: float) -> None:
    assert mean(float(row["recall@20"]) for row in RESULTS[config][model]) >= goal


def test_no_seed_reverses_the_order_of_models_on_the_demo() -> None:
    models = RESULTS["configs/demo.yaml"]
    columns = [
        [float(row["recall@20"]) for row in models[name]] for name in ("FREEDOM", "LightGCN", "Popularity")
    ]
    freedom, lightgcn, popularity = columns
    assert min(freedom) > 1.05 * max(lightgcn)
    assert min(lightgcn) > 1.5 * max(popularity)
