"""Fill the ledger: `python -m experiments.ledger [CONFIG ...] [--seeds 0 1 2] [--jobs 2] [--minutes 60]`.

Each config is run once per seed, in a process of its own with one thread, and a row goes to results.csv; rows
that are there are not made again unless the config says something else now, so a ledger that was stopped
goes on where it was. A run that takes more than ten minutes gets one seed, and so does a closed form, which
has no use for it. Without configs: all of configs/, seed by seed, the quick datasets first.
Then the configs' headers and the README's tables are written anew.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.ledger.headers import write_headers
from experiments.ledger.rows import (
    CSV,
    DATASETS,
    ROOT,
    SLOW_SECONDS,
    add_row,
    is_closed_form,
    own_rows,
    read_rows,
    settings_of,
)
from experiments.ledger.table import write_tables
from experiments.pool import run_all
from mmrec.report.progress import console


def main(argv: list[str]) -> int:
    """Run what is missing, then write headers and tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", help="config files; default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each; default: 2")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after this long")
    chosen = parser.parse_args(argv)
    configs = [str(Path(config)) for config in chosen.configs] or all_configs()
    waiting = [(config, seed) for seed in chosen.seeds for config in configs]

    run_all(
        waiting,
        lambda job: ["experiments.ledger.one", job[0], str(job[1])],
        needed=is_needed,
        keep=lambda _, row: add_row(row),
        at_a_time=chosen.jobs,
        minutes=chosen.minutes,
    )
    rows = read_rows()
    write_headers(own_rows())
    write_tables(rows)
    console.print(f"{len(rows)} rows in {CSV.relative_to(ROOT)}", highlight=False)
    return 0


def is_needed(job: tuple[str, int]) -> bool:
    """The row is missing, and its config is neither slow nor a closed form with a row already."""
    config, seed = job
    known = config, settings_of(config)
    rows = [row for row in read_rows() if (row["config"], row["settings"]) == known]
    alone = any(float(row["run_seconds"]) > SLOW_SECONDS or is_closed_form(row) for row in rows)
    return not any(row["seed"] == str(seed) for row in rows) and not (alone and seed)


def all_configs() -> list[str]:
    """Every config of a dataset, quick datasets first."""
    return [
        str(path.relative_to(ROOT))
        for name in DATASETS
        for path in sorted((ROOT / "configs" / name).glob("*.yaml"))
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
