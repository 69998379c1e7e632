"""Fill the ledger: `python -m experiments.ledger [CONFIG ...] [--seeds 0 1 2] [--jobs 2] [--minutes 60]`.

Each config is run once per seed, in a process of its own with one thread, and a row goes to results.csv; rows
that are there are not made again, so a ledger that was stopped goes on where it was. A run that takes more
than ten minutes gets one seed, and so does a closed form, which has no use for it. Without configs: all of
configs/, seed by seed, the quick datasets first.
Then the configs' headers and the README's tables are written anew.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

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
)
from experiments.ledger.table import write_tables
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
    until, lock = time.monotonic() + 60 * chosen.minutes, Lock()

    def work(job: tuple[str, int]) -> bool:
        """Whether the job is done, or need not be."""
        config, seed = job
        with lock:
            rows = read_rows()
            mine = [row for row in rows if row["config"] == config]
        alone = any(float(row["run_seconds"]) > SLOW_SECONDS or is_closed_form(row) for row in mine)
        if any(row["seed"] == str(seed) for row in mine) or (alone and seed) or time.monotonic() > until:
            return True
        console.print(f"{config}, seed {seed}", highlight=False)
        command = [sys.executable, "-m", "experiments.ledger.one", config, str(seed)]
        threads = {"OMP_NUM_THREADS": "1"} if chosen.jobs > 1 else {}
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **threads}, capture_output=True, text=True
        )
        if done.returncode:
            console.print(
                f"{config}, seed {seed} failed: {done.stderr[-500:]}", markup=False, highlight=False
            )
            return False
        with lock:
            add_row(done.stdout.splitlines()[-1])
        return True

    with ThreadPoolExecutor(chosen.jobs) as pool:
        # Once more for those that failed: two that start together find each other extracting the same photos.
        failed = [job for job, done in zip(waiting, pool.map(work, waiting), strict=True) if not done]
        list(pool.map(work, failed))
    rows = read_rows()
    write_headers(own_rows())
    write_tables(rows)
    console.print(f"{len(rows)} rows in {CSV.relative_to(ROOT)}", highlight=False)
    return 0


def all_configs() -> list[str]:
    """Every config of a dataset, quick datasets first."""
    return [
        str(path.relative_to(ROOT))
        for name in DATASETS
        for path in sorted((ROOT / "configs" / name).glob("*.yaml"))
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
