"""One run of the study, in a process of its own, which prints its row: DATASET BACKBONE SEED [OPTION ...]."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from experiments.seeds import one_run

# The same for every augmentation; FREEDOM without its own pruning, which is one of the augmentations.
_TRAIN = {"demo": [], "ml-100k": ["--train.lr", "5e-3", "--train.patience", "10"]}


def main(argv: list[str]) -> int:
    """Run and print."""
    dataset, backbone, seed, *options = argv
    with tempfile.TemporaryDirectory() as folder:
        words = ["--model", backbone, "--compare", "[]", "--run_dir", str(Path(folder, "run"))]
        row = one_run(f"configs/data/{dataset}.yaml", int(seed), [*words, *_TRAIN[dataset], *options])[0]
    print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
