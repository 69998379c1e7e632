"""Seconds from the start of the process to the end of the first training step on Amazon Baby.

`python -m experiments.speed.startup [--mmrec PATH] [--data FOLDER] [--config FILE] [--repeats 5]`
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from experiments.speed.measure import FOLDER, output_of, write_csv
from experiments.speed.peer import Peer, save_clicks
from features.errors import MMRecError

# The clock starts before Python does; the first step of the optimizer ends the run from within.
CODE = """
import sys, time
class Done(BaseException): pass
from mmrec.train.adam import Adam
step = Adam.step
def first(self):
    step(self)
    raise Done
Adam.step = first
from mmrec.config import parse
from mmrec.run import run
try:
    run(parse(sys.argv[2:]))
except Done:
    print(time.time() - float(sys.argv[1]))
"""


def main(argv: list[str]) -> int:
    """Measure, print, write startup.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mmrec", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/baby"))
    parser.add_argument(
        "--config", nargs="+", default=["configs/baby/lightgcn.yaml", "configs/baby/freedom.yaml"]
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(argv)
    if not (chosen.data / "baby.inter").is_file():
        raise MMRecError(f"{chosen.data} has no baby.inter; name the folder of Amazon Baby with --data")
    rows: list[dict[str, object]] = []
    for config in chosen.config:
        seconds = []
        for _ in range(chosen.repeats + 1):  # the first one reads from the disk
            arguments = ["-c", CODE, str(time.time()), "--config", config, "--root", str(chosen.data)]
            seconds.append(float(output_of(arguments, chosen.threads)))
        ours = f"{median(seconds[1:]):.2f}"
        row: dict[str, object] = {"what": f"start to first step: {config}", "ours": ours, "mmrec": ""}
        if chosen.mmrec is not None and "lightgcn" in config:
            theirs = [_peer_seconds(chosen) for _ in range(2)]
            row["mmrec"] = f"{min(theirs):.2f}"
        print(row)
        rows.append(row)
    write_csv(FOLDER / "startup.csv", rows)
    return 0


def _peer_seconds(chosen: argparse.Namespace) -> float:
    with tempfile.TemporaryDirectory() as folder:
        # Written by one process, timed in another, which starts with the files in place.
        with Peer(chosen.mmrec, chosen.threads) as writer:
            writer.ask("write", folder=folder, inter=save_clicks(chosen.data, Path(folder)), widths={})
        with Peer(chosen.mmrec, chosen.threads) as peer:
            peer.ask("use", folder=folder)
            peer.ask("prepare", model="LightGCN", options={"n_layers": 4, "reg_weight": 1e-3})
            return float(peer.ask("first_step"))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MMRecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
