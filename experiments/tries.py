"""Tries of settings, seed 0, judged by valid alone: `python -m experiments.tries STUDY [--jobs 2]`.

experiments/STUDY/tries.yaml names configs and, for each, what a try puts on the command line. A row per try
goes to tries.csv beside it, which holds no number of the test split: that stays sealed. Tries that are there
are not made again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path

import yaml

from experiments.pool import run_all
from experiments.seeds import read_results, write_results

COLUMNS = ("config", "options", "valid_recall@20", "valid_ndcg@20", "best_epoch", "epochs", "run_seconds")
Try = tuple[str, str]  # a config, and options as they are typed


def main(argv: list[str]) -> int:
    """Make the tries that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="folder experiments/STUDY, which has tries.yaml")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each; default: 2")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no try after this long")
    chosen = parser.parse_args(argv)
    study = Path(__file__).parent / chosen.study
    if not (study / "tries.yaml").is_file():
        known = ", ".join(sorted(path.parent.name for path in Path(__file__).parent.glob("*/tries.yaml")))
        parser.error(f"{study} has no tries.yaml; studies that have one: {known}")
    csv = study / "tries.csv"
    with tempfile.TemporaryDirectory() as folder:
        waiting = tries(study)
        runs = {one: Path(folder, str(number)) for number, one in enumerate(waiting)}
        run_all(
            waiting,
            lambda one: words(one, runs[one]),
            needed=lambda one: not any(one == (row["config"], row["options"]) for row in read_results(csv)),
            keep=lambda one, _: _add(csv, one, runs[one]),
            at_a_time=chosen.jobs,
            minutes=chosen.minutes,
        )
    return 0


def tries(study: Path) -> list[Try]:
    """The tries of a study's tries.yaml."""
    listed = yaml.safe_load((study / "tries.yaml").read_text(encoding="utf-8"))
    return [(config, options) for config, several in listed.items() for options in several]


def words(one: Try, run: Path) -> list[str]:
    """What follows `python -m`: the config with these options, the test split sealed."""
    config, options = one
    fixed = ["--config", config, "--run_dir", str(run), "--compare", "[]", "--open_test", "false"]
    return ["mmrec.run", *fixed, *shlex.split(options)]


def _add(csv: Path, one: Try, run: Path) -> None:
    """Keep what a run gave on valid."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    training = metrics["training"]
    row = {
        **dict(zip(("config", "options"), one, strict=True)),
        **{f"valid_{name}": f"{metrics['valid'][name]:.5f}" for name in ("recall@20", "ndcg@20")},
        **{name: training[name] for name in ("best_epoch", "epochs")},
        "run_seconds": f"{metrics['seconds']:.0f}",
    }
    write_results(csv, [*read_results(csv), row], COLUMNS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
