"""Configs over seeds: `python -m experiments.seeds STUDY CONFIG ... [--seeds 0 1 2] [--option value ...]`.

One row per run goes to the study's results.csv; runs that are there already are not made again. Mean and
standard deviation over seeds are printed at the end. Everything is chosen on valid; test is that of the best
valid epoch.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from features.errors import MMRecError
from features.files import atomic_file
from mmrec.config import parse
from mmrec.report.progress import console
from mmrec.run import run

METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
SHOWN = {"valid R@20": "valid_recall@20", "test R@10": "recall@10", "R@20": "recall@20", "N@20": "ndcg@20"}
COLD = {"cold items R@20": "cold_recall@20"}  # shown where a model finds any
COLUMNS = (
    "config",
    "model",
    "seed",
    "valid_recall@20",
    *METRICS,
    "cold_recall@20",
    "best_epoch",
    "epochs",
    "train_seconds",
    "valid_seconds",
    "run_seconds",
    "threads",
    "options",
)


def main(argv: list[str]) -> int:
    """Run what is missing, then print the summary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="folder experiments/STUDY, where results.csv is kept")
    parser.add_argument("configs", nargs="+", help="config files")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    chosen, options = parser.parse_known_args(argv)
    results = Path(__file__).parent / chosen.study / "results.csv"
    rows = read_results(results)
    for config in chosen.configs:
        for seed in chosen.seeds:
            if any(
                (row["config"], row["seed"], row["options"]) == (config, str(seed), " ".join(options))
                for row in rows
            ):
                continue
            rows += one_run(config, seed, options)
            write_results(results, rows)
    _summary(rows)
    return 0


def one_run(config: str, seed: int, options: list[str]) -> list[dict[str, str]]:
    """One config with one seed: a row for its model, and one for each that is compared."""
    name = f"{Path(config).parent.name}-{Path(config).stem}-{seed}"
    console.rule(name)
    resolved = parse(["--config", config, "--seed", str(seed), "--name", name, *options])
    metrics = run(resolved)
    found = {metrics["model"]: metrics, **metrics["compare"]}
    rows = []
    for model, part in found.items():
        training = part["training"]
        row: dict[str, Any] = {"config": config, "model": model, "seed": seed, "options": " ".join(options)}
        row |= {name: f"{part['test'][name]:.5f}" for name in METRICS}
        row["valid_recall@20"] = f"{part['valid']['recall@20']:.5f}"
        row["cold_recall@20"] = f"{part['groups']['test']['cold_items'].get('recall@20', float('nan')):.5f}"
        row |= {name: training[name] for name in ("best_epoch", "epochs")}
        row |= {name: f"{training[name]:.1f}" for name in ("train_seconds", "valid_seconds")}
        row |= {"run_seconds": f"{metrics['seconds']:.1f}", "threads": torch.get_num_threads()}
        rows.append({key: str(value) for key, value in row.items()})
    return rows


def by_config(rows: list[dict[str, str]]) -> dict[str, dict[str, list[dict[str, str]]]]:
    """Config (with its options) -> model -> its rows."""
    groups: dict[str, dict[str, list[dict[str, str]]]] = {}
    for row in rows:
        config = f"{row['config']} {row['options']}".strip()
        groups.setdefault(config, {}).setdefault(row["model"], []).append(row)
    return groups


def result_line(model: str, rows: list[dict[str, str]]) -> str:
    """Mean over seeds, and standard deviation where there are several, as configs' headers have it."""
    cells = []
    for label, name in (SHOWN | COLD).items():
        values = [float(row[name]) for row in rows]
        if label in COLD and not mean(values) > 0:
            continue
        spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
        cells.append(f"{label} {mean(values):.4f}{spread}")
    return f"#   {model}: {', '.join(cells)}"


def _summary(rows: list[dict[str, str]]) -> None:
    for config, models in by_config(rows).items():
        console.print(f"# {config}", soft_wrap=True, highlight=False)
        for model, group in models.items():
            console.print(
                f"{result_line(model, group)}  ({len(group)} seeds)", soft_wrap=True, highlight=False
            )


def read_results(path: Path) -> list[dict[str, str]]:
    """Rows of a results.csv; none where it is absent."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def write_results(path: Path, rows: list[dict[str, str]], columns: Sequence[str] = COLUMNS) -> None:
    """Write rows as CSV, whole or not at all."""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MMRecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
