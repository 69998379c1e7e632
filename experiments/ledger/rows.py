"""The ledger's rows."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from experiments.seeds import COLUMNS, read_results, write_results

ROOT = Path(__file__).parents[2]
CSV = Path(__file__).with_name("results.csv")
DATASETS = ("demo", "ml-100k", "tiktok", "baby")  # quick ones first
SLOW_SECONDS = 600  # a run that takes longer gets one seed
LEDGER_COLUMNS = (*COLUMNS, "peak_mib")


def own_rows() -> list[dict[str, str]]:
    """Rows of results.csv."""
    return read_results(CSV)


def read_rows() -> list[dict[str, str]]:
    """Those, and for configs that have none there the rows of the study that measured them."""
    rows = own_rows()
    mine = {row["config"] for row in rows}
    for path in sorted(CSV.parents[1].glob("*/results.csv")):
        for row in read_results(path) if path != CSV else []:
            own_model = not row["options"] and row["model"] == _main_model(row["config"])
            if own_model and row["config"] not in mine and Path(row["config"]).parent.name in DATASETS:
                rows.append({**row, "peak_mib": ""})
    return rows


def _main_model(config: str) -> str:
    text = yaml.safe_load((ROOT / config).read_text(encoding="utf-8"))["model"]
    return str(text if isinstance(text, str) else text["class_path"])


def add_row(text: str) -> None:
    """Add a row, given as JSON, and write the file whole."""
    rows = [*own_rows(), json.loads(text)]
    rows.sort(key=lambda row: (row["config"], int(row["seed"])))
    write_results(CSV, rows, LEDGER_COLUMNS)


def is_closed_form(row: dict[str, str]) -> bool:
    """Nothing was trained, so that no seed has a part in it."""
    return int(row["epochs"]) == 0


def by_config(rows: list[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    """Config -> its rows, a row per seed."""
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(row["config"], []).append(row)
    return groups
