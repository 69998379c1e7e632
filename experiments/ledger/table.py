"""The README's tables, a table per dataset, written between its marks."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev

import yaml

from experiments.ledger.rows import DATASETS, by_config, is_closed_form
from features.files import atomic_file

README = Path(__file__).with_name("README.md")
PUBLISHED = Path(__file__).with_name("published.yaml")
BEGIN, END = "<!-- tables: written by python -m experiments.ledger -->", "<!-- end of tables -->"
HEAD = (
    "| config | valid R@20 | test R@20 | test N@20 | s/epoch | epochs | peak MiB | seeds | published R@20 "
    "| why they differ |\n"
    "|---|---|---|---|---|---|---|---|---|---|\n"
)


def tables(rows: list[dict[str, str]]) -> str:
    """A table per dataset, best on valid first."""
    known = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8")) or {}
    parts = []
    for dataset in DATASETS:
        mine = {
            Path(config).stem: group
            for config, group in by_config(rows).items()
            if Path(config).parent.name == dataset
        }
        if not mine:
            continue
        order = sorted(mine, key=lambda name: -_mean(mine[name], "valid_recall@20"))
        lines = [_line(name, mine[name], (known.get(dataset) or {}).get(name) or {}) for name in order]
        parts.append(f"### {dataset}\n\n{HEAD}" + "".join(lines))
    return "\n".join(parts)


def _line(name: str, rows: list[dict[str, str]], published: dict[str, str]) -> str:
    epochs = _mean(rows, "epochs")
    seconds = f"{_mean(rows, 'train_seconds') / epochs:.2f}" if epochs else "-"
    cells = [
        name,
        _spread(rows, "valid_recall@20"),
        _spread(rows, "recall@20"),
        _spread(rows, "ndcg@20"),
        seconds,
        f"{epochs:.0f}",
        f"{_mean(rows, 'peak_mib'):.0f}" if all(row["peak_mib"] for row in rows) else "-",
        "closed form" if is_closed_form(rows[0]) else str(len(rows)),
        str(published.get("recall@20", "")),
        str(published.get("why", "")),
    ]
    return f"| {' | '.join(cells)} |\n"


def _mean(rows: list[dict[str, str]], name: str) -> float:
    return mean(float(row[name]) for row in rows)


def _spread(rows: list[dict[str, str]], name: str) -> str:
    values = [float(row[name]) for row in rows]
    spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
    return f"{mean(values):.4f}{spread}"


def write_tables(rows: list[dict[str, str]]) -> None:
    """Replace what stands between the marks."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    with atomic_file(README) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n\n{tables(rows)}\n{END}{after}", encoding="utf-8")
