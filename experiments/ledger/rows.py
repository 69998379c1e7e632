"""The ledger's rows."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import yaml

from experiments.seeds import COLUMNS, read_results, write_results
from mmrec.settings import read_file

ROOT = Path(__file__).parents[2]
CSV = Path(__file__).with_name("results.csv")
DATASETS = ("demo", "ml-100k", "tiktok", "baby")  # quick ones first
SLOW_SECONDS = 600  # a run that takes longer gets one seed
LEDGER_COLUMNS = (*COLUMNS, "peak_mib", "settings")


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
                rows.append({**row, "peak_mib": "", "settings": settings_of(row["config"])})
    return rows


def _main_model(config: str) -> str:
    text = yaml.safe_load((ROOT / config).read_text(encoding="utf-8"))["model"]
    return str(text if isinstance(text, str) else text["class_path"])


def settings_of(config: str) -> str:
    """Hash of what a config and its bases say, but for the name: rows of other settings are none of its."""
    said = {name: value for name, value in read_file(ROOT / config).items() if name != "name"}
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def add_row(text: str) -> None:
    """Add a row (JSON) in place of the rows of its config's former settings, and write the file whole."""
    row = json.loads(text)
    rows = [one for one in own_rows() if one["config"] != row["config"] or one["settings"] == row["settings"]]
    rows.append(row)
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
