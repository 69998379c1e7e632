"""Eight augmentations on three backbones: `python -m experiments.augmentations [--seeds 0 1 2]`.

Each runs on the demo and on MovieLens-100k with nothing but the augmentation changed, and without any. A row
per run goes to runs.csv; rows that are there are not made again. Then the heat map is drawn: the difference
to the backbone without augmentation, paired by seed, with a 95 % confidence interval over seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from experiments.augmentations.picture import draw
from experiments.pool import run_all
from experiments.seeds import read_results, write_results

CSV = Path(__file__).with_name("runs.csv")
DATASETS = ("demo", "ml-100k")
BACKBONES = ("LightGCN", "FREEDOM", "BM3")
_NCE = "{class_path: InfoNCE, init_args: {weight: 0.02, temperature: 0.2}}"
# What is put on the command line for each; `none` is the backbone alone.
AUGMENTATIONS: dict[str, list[str]] = {
    "none": [],
    "EdgeDrop, epoch": ["--augment.epoch", "[{class_path: EdgeDrop, init_args: {drop: 0.2}}]"],
    "NodeDrop, epoch": ["--augment.epoch", "[{class_path: NodeDrop, init_args: {drop: 0.1}}]"],
    "DegreeDrop, epoch": ["--augment.epoch", "[{class_path: DegreeDrop, init_args: {drop: 0.5}}]"],
    "RandomWalk, epoch": ["--augment.epoch", "[{class_path: RandomWalk, init_args: {drop: 0.2}}]"],
    "EmbeddingNoise, step": ["--augment.step", "[{class_path: EmbeddingNoise, init_args: {scale: 0.1}}]"],
    "EdgeDrop, views": [
        *("--augment.views", "[{class_path: EdgeDrop, init_args: {drop: 0.2}}]"),
        *("--augment.contrast", _NCE, "--augment.redraw", "epoch"),
    ],
    "EmbeddingNoise, views": [
        *("--augment.views", "[{class_path: EmbeddingNoise, init_args: {scale: 0.1}}]"),
        *("--augment.contrast", _NCE),
    ],
    "SVDView, views": [
        *("--augment.views", "[{class_path: SVDView, init_args: {rank: 5}}]", "--augment.against", "clean"),
        *(
            "--augment.contrast",
            "{class_path: InfoNCE, init_args: {weight: 0.05, temperature: 0.2, unit: false}}",
        ),
    ],
}


def main(argv: list[str]) -> int:
    """Run what is missing and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--datasets", nargs="+", default=DATASETS, help="default: both")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each; default: 2")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after this long")
    chosen = parser.parse_args(argv)
    jobs = [
        (seed, dataset, backbone, name)
        for seed in chosen.seeds
        for dataset in chosen.datasets
        for backbone in BACKBONES
        for name in AUGMENTATIONS
    ]
    run_all(
        jobs,
        lambda job: ["experiments.augmentations.one", job[1], job[2], str(job[0]), *AUGMENTATIONS[job[3]]],
        needed=lambda job: not any(_key(job) == (row["config"], row["seed"]) for row in read_results(CSV)),
        keep=_add,
        at_a_time=chosen.jobs,
        minutes=chosen.minutes,
    )
    draw(read_results(CSV), DATASETS, BACKBONES, tuple(AUGMENTATIONS)[1:], CSV.with_name("heatmap.png"))
    return 0


def _key(job: tuple[int, str, str, str]) -> tuple[str, str]:
    seed, dataset, backbone, name = job
    return f"{dataset} {backbone} {name}", str(seed)


def _add(job: tuple[int, str, str, str], row: str) -> None:
    write_results(CSV, [*read_results(CSV), {**json.loads(row), "config": _key(job)[0], "options": ""}])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
