"""All parts in turn: `python -m experiments.speed [--mmrec PATH] [--data FOLDER] [--parts ...]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.speed import epochs, growth, knn, memory, propagation, startup
from features.errors import MMRecError

PARTS = {"propagation": propagation, "startup": startup, "memory": memory, "epochs": epochs}
MADE_UP = {"knn": knn, "growth": growth}  # parts that need neither data nor MMRec


def main(argv: list[str]) -> int:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mmrec", type=Path, help="checkout of enoche/MMRec to measure beside")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/baby"))
    parser.add_argument("--parts", nargs="+", choices=[*PARTS, *MADE_UP], default=[*PARTS, *MADE_UP])
    chosen = parser.parse_args(argv)
    for name in chosen.parts:
        if name in MADE_UP:
            MADE_UP[name].main([])
            continue
        words = ["--data", str(chosen.data)]
        if chosen.mmrec is not None and name != "propagation":
            words += ["--mmrec", str(chosen.mmrec)]
        PARTS[name].main(words)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MMRecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
