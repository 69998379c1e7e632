"""Tries on Amazon Baby, seed 0, judged by valid alone: `python -m experiments.discovery [--minutes 60]`.

Each is FREEDOM's config with some options changed. A row per try goes to tries.csv, which holds no number of
the test split; tries that are there are not made again. The best is a config of its own,
configs/baby/discovery.yaml, and only that one is measured on test, with three seeds, in the ledger.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.seeds import read_results, write_results
from mmrec.report.progress import console

ROOT = Path(__file__).parents[2]
CSV = Path(__file__).with_name("tries.csv")
COLUMNS = ("try", "valid_recall@20", "valid_ndcg@20", "epochs", "run_seconds", "options")
_NOISE = ["--augment.views", "[{class_path: EmbeddingNoise, init_args: {scale: 0.1}}]"]
_DROP = ["--augment.views", "[{class_path: DegreeDrop, init_args: {drop: 0.5}}]", "--augment.redraw", "epoch"]


def _contrast(weight: float) -> list[str]:
    return [
        "--augment.contrast",
        f"{{class_path: InfoNCE, init_args: {{weight: {weight}, temperature: 0.2}}}}",
    ]


def _clicks(share: float) -> list[str]:
    return ["--graph.weights", f"{{fused: {1 - share:.1f}, clicks: {share}}}"]


TRIES: dict[str, list[str]] = {
    "FREEDOM": [],
    "clicks .2": _clicks(0.2),
    "clicks .4": _clicks(0.4),
    "clicks .2, two item layers": [*_clicks(0.2), "--model.n_item_layers", "2"],
    "noisy views, weight .02": [*_NOISE, *_contrast(0.02)],
    "clicks .2, dim 128": [*_clicks(0.2), "--model.dim", "128"],
    "dim 128": ["--model.dim", "128"],
    "clicks .2, dim 256": [*_clicks(0.2), "--model.dim", "256"],
    "clicks .2, dim 128, dropped views, weight .001": [
        *_clicks(0.2),
        *("--model.dim", "128"),
        *_DROP,
        *_contrast(0.001),
    ],
    "clicks .2, dim 128, mirror gradient": [*_clicks(0.2), "--model.dim", "128", "--train.mirror_every", "3"],
}


def main(argv: list[str]) -> int:
    """Make the tries that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no try after this long")
    until = time.monotonic() + 60 * parser.parse_args(argv).minutes
    for name, options in TRIES.items():
        if any(row["try"] == name for row in read_results(CSV)) or time.monotonic() > until:
            continue
        console.print(name, highlight=False)
        with tempfile.TemporaryDirectory() as folder:
            words = ["--config", "configs/baby/freedom.yaml", "--run_dir", folder + "/run"]
            command = [sys.executable, "-m", "mmrec.run", *words, "--open_test", "false", *options]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            add(name, Path(folder, "run"))
    return 0


def add(name: str, run: Path) -> None:
    """Keep what a run gave on valid; its numbers on test are not looked at."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    row = {
        "try": name,
        **{f"valid_{one}": f"{metrics['valid'][one]:.5f}" for one in ("recall@20", "ndcg@20")},
        "epochs": metrics["training"]["epochs"],
        "run_seconds": f"{metrics['seconds']:.0f}",
        "options": " ".join(TRIES[name]),
    }
    write_results(CSV, [*read_results(CSV), row], COLUMNS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
