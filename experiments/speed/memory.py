"""Peak memory of two epochs of FREEDOM on Amazon Baby, each in a process of its own.

`python -m experiments.speed.memory [--mmrec PATH] [--data FOLDER] [--case NAME]`
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from experiments.speed.cases import CASES, FULL, baby, train
from experiments.speed.measure import FOLDER, output_of, peak_bytes, write_csv
from experiments.speed.peer import Peer, save_clicks
from features.errors import MMRecError


def main(argv: list[str]) -> int:
    """Measure, print, write memory.csv; with a case, train it and print the bytes of this very process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mmrec", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/baby"))
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(argv)
    if not (chosen.data / "baby.inter").is_file():
        raise MMRecError(f"{chosen.data} has no baby.inter; name the folder of Amazon Baby with --data")
    if chosen.case:
        train(CASES[chosen.case], baby(chosen.data)[0], epochs=2, device="cpu")
        print(peak_bytes())
        return 0
    theirs = _of_peer(chosen) if chosen.mmrec is not None else None
    rows: list[dict[str, object]] = []
    for name in (name for name in CASES if name.startswith("FREEDOM")):
        words = ["-m", "experiments.speed.memory", "--case", name, "--data", str(chosen.data)]
        ours = int(output_of(words, chosen.threads))
        row: dict[str, object] = {"what": f"peak MB: {name}", "ours": f"{ours / 1e6:.0f}", "mmrec": ""}
        row |= {"times_smaller": "", "goal": 2}
        if theirs is not None:
            row |= {"mmrec": f"{theirs / 1e6:.0f}", "times_smaller": f"{theirs / ours:.2f}"}
        print(row)
        rows.append(row)
    write_csv(FOLDER / "memory.csv", rows)
    return 0


def _of_peer(chosen: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        with Peer(chosen.mmrec, chosen.threads) as writer:
            writer.ask("write", folder=folder, inter=save_clicks(chosen.data, Path(folder)), widths=FULL)
        with Peer(chosen.mmrec, chosen.threads) as peer:
            peer.ask("use", folder=folder)
            freedom = CASES["FREEDOM, trainable features"]
            peer.ask("prepare", model="FREEDOM", options=freedom.peer)
            for _ in range(2):
                peer.ask("epoch")
            return int(peer.ask("peak"))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MMRecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
