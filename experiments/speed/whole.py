"""FREEDOM on Amazon Baby with the exact graph, to the end of early stopping, here and in MMRec.

`python -m experiments.speed.whole --mmrec PATH [--threads 1]`; MMRec takes most of an hour. Seconds are the
processor's: on one thread they are those of an idle core, whatever else the machine does meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.speed.measure import FOLDER, write_csv
from experiments.speed.peer import Peer, save_clicks
from features.errors import MMRecError

CONFIG = "configs/baby/freedom.yaml"
# MMRec makes no FREEDOM without features; a reg_weight of 0 leaves them without part in the loss.
WIDTHS = {"image": 16, "text": 16}
PEER = {"n_ui_layers": 2, "n_mm_layers": 1, "reg_weight": 0.0, "dropout": 0.8}


def main(argv: list[str]) -> int:
    """Measure, print, write whole.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mmrec", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/baby"))
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(argv)
    rows = [_ours(chosen), _theirs(chosen)]
    write_csv(FOLDER / "whole.csv", rows)
    return 0


def _ours(chosen: argparse.Namespace) -> dict[str, object]:
    environment = os.environ | {"OMP_NUM_THREADS": str(chosen.threads)}
    with tempfile.TemporaryDirectory() as folder:
        words = ["--config", CONFIG, "--root", str(chosen.data), "--run_dir", f"{folder}/run"]
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "mmrec.run", *words],
            check=True,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = json.loads(Path(folder, "run", "metrics.json").read_text(encoding="utf-8"))
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result["epochs"] = result["training"]["epochs"]
    return _row("here", seconds, time.perf_counter() - started, result)


def _theirs(chosen: argparse.Namespace) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder, Peer(chosen.mmrec, chosen.threads) as peer:
        graph = str((chosen.data / "freedom_item_graph.npz").resolve())
        clicks = save_clicks(chosen.data, Path(folder))
        peer.ask("write", folder=folder, inter=clicks, widths=WIDTHS, graph=graph)
        peer.ask("prepare", model="FREEDOM", options=PEER)
        done = peer.ask("fit")
    return _row("MMRec", done["processor_seconds"], done["seconds"], done)


def _row(who: str, processor: float, seconds: float, done: dict[str, object]) -> dict[str, object]:
    row: dict[str, object] = {
        "who": who,
        "processor_seconds": f"{processor:.0f}",
        "seconds": f"{seconds:.0f}",
    }
    row["epochs"] = done["epochs"]
    for split in ("valid", "test"):
        row |= {f"{split}_{name}": done[split][name] for name in ("recall@20", "ndcg@20")}  # type: ignore[index]
    print(row, flush=True)
    return row


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MMRecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
