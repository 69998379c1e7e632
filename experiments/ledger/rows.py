"""The ledger's rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from experiments.seeds import COLUMNS, read_results
from features.files import atomic_file

ROOT = Path(__file__).parents[2]
CSV = Path(__file__).with_name("results.csv")
DATASETS = ("demo", "ml-100k", "tiktok", "baby")  # quick ones first
SLOW_SECONDS = 600  # a run that takes longer gets one seed
LEDGER_COLUMNS = (*COLUMNS, "peak_mib")


def read_rows() -> list[dict[str, str]]:
    """Rows of results.csv."""
    return read_results(CSV)


def add_row(text: str) -> None:
    """Add a row, given as JSON, and write the file whole."""
    rows = [*read_rows(), json.loads(text)]
    rows.sort(key=lambda row: (row["config"], int(row["seed"])))
    with atomic_file(CSV) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, LEDGER_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def by_config(rows: list[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    """Config -> its rows, a row per seed."""
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(row["config"], []).append(row)
    return groups
