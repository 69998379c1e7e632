"""What a dataset costs as it grows: 10^4 to 10^7 made-up clicks, LightGCN, each size in a process of its own.

`python -m experiments.speed.growth [--sizes 10000 ...]`. A user has 20 clicks, an item 100, and 128 feature
columns. An epoch has 50 steps (fewer below 100,000 clicks, as a batch has 2,048 clicks at least), since the
time of a step, which propagates through the whole graph, is what a size changes. Work is counted in the
clicks read, the clicks times steps of an epoch, the pairs of items compared, the scores of an evaluation, and
the bytes of clicks and tables; seconds per unit of it should not rise.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
import torch

from experiments.speed.measure import FOLDER, header, output_of, peak_bytes, write_csv
from experiments.speed.picture import draw_growth
from experiments.speed.propagation import long_tailed
from mmrec.data.dataset import load_data
from mmrec.evaluate.evaluator import Evaluator, Scores
from mmrec.graph.knn import knn
from mmrec.models.base import Recommender
from mmrec.models.lightgcn import LightGCN
from mmrec.train.loop import fit

SIZES = (10_000, 31_600, 100_000, 316_000, 1_000_000, 3_160_000, 10_000_000)
STEPS, WIDTH, DIM = 50, 128, 64
# What is measured, and the work that it should grow with.
WORK = {
    "load": "clicks",
    "item_graph": "pairs_of_items",
    "epoch": "clicks_times_steps",
    "evaluation": "scores",
    "peak_bytes": "bytes_of_data",
}


def main(argv: list[str]) -> int:
    """Measure, print, write growth.csv and growth.png; with one size, print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--one", type=int, help="this size alone, in this process")
    chosen = parser.parse_args(argv)
    if chosen.one:
        print(json.dumps(one(chosen.one)))
        return 0
    rows = []
    for size in chosen.sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_clicks(size, Path(folder, "clicks.parquet"))
            words = ["-m", "experiments.speed.growth", "--one", str(size)]
            row = json.loads(output_of(words, int(header()["threads"]), folder=Path(folder)))
        for what, work in WORK.items():
            row[f"{what}_per_unit"] = f"{row[what] / row[work]:.3g}"
        rows.append(row)
        print(row, flush=True)
    write_csv(FOLDER / "growth.csv", rows)
    draw_growth(rows, WORK, FOLDER / "growth.png")
    return 0


def write_clicks(size: int, path: Path) -> None:
    """Long-tailed clicks of `size` // 20 users on `size` // 100 items, as a table."""
    user, item = long_tailed(size // 20, size // 100, size)
    pl.DataFrame({"user_id": user.numpy(), "item_id": item.numpy()}).write_parquet(path)


def one(size: int) -> dict[str, Any]:
    """Seconds of each part, the work in each, and the memory at its highest."""
    started = time.perf_counter()
    data = load_data("clicks.parquet", root=Path())
    row: dict[str, Any] = {"clicks": size, "load": time.perf_counter() - started}
    view, evaluator = data.train, Evaluator()
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(view.num_items, WIDTH, generator=draw)
    started = time.perf_counter()
    knn(features, torch.ones(view.num_items, dtype=torch.bool), search="exact")
    row["item_graph"] = time.perf_counter() - started
    model, clicks = LightGCN(view, dim=DIM), view.edge_index.shape[1]
    batch = max(2048, -(-clicks // STEPS))
    # The first epoch is a warm-up; nothing is chosen here.
    history = fit(model, view, _no_scores, epochs=2, patience=2, batch_size=batch, device="cpu")
    row["epoch"] = float(history.rows[-1]["train_seconds"])
    held_out = evaluator.prepare(view, data.valid)
    started = time.perf_counter()
    evaluator.evaluate(model, view, held_out)
    row["evaluation"] = time.perf_counter() - started
    users, nodes = len(torch.unique(data.valid[0])), view.num_users + view.num_items
    row |= {"users": view.num_users, "items": view.num_items, "steps": -(-clicks // batch)}
    row |= {"peak_bytes": peak_bytes(), "pairs_of_items": view.num_items**2}
    # clicks: both directions, twice; tables: embeddings, gradient, two moments, best weights
    row |= {"scores": users * view.num_items, "clicks_times_steps": clicks * row["steps"]}
    row["bytes_of_data"] = size * 16 + clicks * 4 * 8 + nodes * DIM * 4 * 5
    return row


def _no_scores(model: Recommender, view: Any) -> Scores:
    return Scores({"recall@20": 0.0}, users=1, cold_users=0, cold_item_clicks=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
