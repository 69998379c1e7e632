"""What missing photos and texts cost, and what each way to fill them gives back.

`python experiments/missing-modality/run.py demo` takes photos and texts away from the demo's items at random
(a share of 0 to 90 %, each modality by itself); `... x-wines --root ../shared/data/x-wines` takes the data as
they are, with photos of 100 of 1,007 wines. All models are stopped on valid; test is opened once, at the end.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from features.errors import MMRecError
from features.files import atomic_file
from mmrec.config import parse
from mmrec.data.missing import WAYS, fill_missing
from mmrec.evaluate.evaluator import Evaluator
from mmrec.graph.item_graph import add_item_graph
from mmrec.graph.view import GraphView
from mmrec.helpers import Helpers
from mmrec.report.progress import console
from mmrec.run import prepare, train

FOLDER = Path(__file__).parent
CONFIGS = {"demo": "configs/demo.yaml", "x-wines": str(FOLDER / "x-wines.yaml")}
SHARES = {"demo": (0.0, 0.1, 0.3, 0.5, 0.7, 0.9), "x-wines": (0.0,)}
COLUMNS = (
    "data",
    "model",
    "missing",
    "fill",
    "seed",
    "valid_recall@20",
    "recall@20",
    "ndcg@20",
    "cold_recall@20",
)


def main(argv: list[str]) -> int:
    """Train all, open test, write <data>.csv, draw the curve."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=CONFIGS)
    parser.add_argument("--root", default=None)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    chosen = parser.parse_args(argv)
    words = ["--config", CONFIGS[chosen.data], "--compare", "[]"]
    words += ["--root", chosen.root] if chosen.root else []
    data = prepare(parse(words))
    evaluator = Evaluator()
    trained: list[tuple[dict[str, Any], Any, GraphView]] = []
    for seed in chosen.seeds:
        for share in SHARES[chosen.data]:
            lacking = _without(data.train, share, seed)
            complete = all(bool(mask.all()) for mask in lacking.present.values())
            for fill in WAYS[:1] if complete else WAYS:
                options = parse([*words, "--seed", str(seed)])
                view = add_item_graph(fill_missing(lacking, fill), **options.graph.as_dict())
                row = {"data": chosen.data, "model": "FREEDOM", "missing": share, "fill": fill, "seed": seed}
                trained.append(_train(row, options, replace(data, train=view), evaluator))
        options = parse([*words, "--seed", str(seed), "--model", "LightGCN", "--augment.epoch", "[]"])
        row = {"data": chosen.data, "model": "LightGCN", "missing": "", "fill": "", "seed": seed}
        trained.append(_train(row, options, data, evaluator))
    test = data.test.open()
    rows = [_tested(row, model, view, evaluator, test) for row, model, view in trained]
    with (
        atomic_file(FOLDER / f"{chosen.data}.csv") as path,
        path.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    _show(rows)
    if len(SHARES[chosen.data]) > 1:
        _draw(rows, FOLDER / f"{chosen.data}.png")
    return 0


def _without(view: GraphView, share: float, seed: int) -> GraphView:
    """Each item's photo and text taken away with this probability; the same ones for every way to fill."""
    draw = torch.Generator().manual_seed(1000 + seed)
    present = {}
    for name, mask in view.present.items():
        present[name] = mask & (torch.rand(view.num_items, generator=draw) >= share)
    features = {name: rows * present[name][:, None] for name, rows in view.features.items()}
    return replace(view, features=features, present=present, item_edge_index=None, item_edge_weight=None)


def _train(
    row: dict[str, Any], options: Any, data: Any, evaluator: Evaluator
) -> tuple[dict[str, Any], Any, GraphView]:
    with tempfile.TemporaryDirectory() as folder:
        helpers = Helpers.of(options)
        one = train(options, options.model, data, evaluator, Path(folder), helpers=helpers)
    row["valid_recall@20"] = one.history.best_value
    console.print(row, highlight=False)
    return row, one.model, data.train


def _tested(
    row: dict[str, Any], model: Any, view: GraphView, evaluator: Evaluator, test: torch.Tensor
) -> dict[str, Any]:
    metrics = evaluator.evaluate(model, view, test).metrics
    warm = torch.bincount(view.edge_index[1], minlength=view.num_items) > 0
    cold = test[:, ~warm[test[1]]]
    row |= {name: metrics[name] for name in ("recall@20", "ndcg@20")}
    row["cold_recall@20"] = (
        evaluator.evaluate(model, view, cold).metrics["recall@20"] if cold.shape[1] else ""
    )
    return row


def _groups(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], list[float]]:
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["fill"], row["missing"]), []).append(row["recall@20"])
    return groups


def _show(rows: list[dict[str, Any]]) -> None:
    for (model, fill, share), values in _groups(rows).items():
        spread = stdev(values) if len(values) > 1 else 0.0
        console.print(f"{model} {fill} {share}: test R@20 {mean(values):.4f} ± {spread:.4f}", highlight=False)


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = _groups(rows)
    figure, axes = pyplot.subplots(figsize=(6.4, 4), layout="constrained")
    full = next(
        (values for (_, fill, share), values in groups.items() if fill == "zero" and share == 0), None
    )
    for fill in WAYS:
        points = {share: values for (_, name, share), values in groups.items() if name == fill}
        if full is not None:
            points.setdefault(0.0, full)
        shares = sorted(points)
        heights = [mean(points[share]) for share in shares]
        spreads = [stdev(points[share]) if len(points[share]) > 1 else 0 for share in shares]
        axes.errorbar([100 * share for share in shares], heights, spreads, marker="o", capsize=3, label=fill)
    baseline = mean(groups["LightGCN", "", ""])
    axes.axhline(baseline, color="#999999", linestyle=":", label="LightGCN, no features")
    axes.set_xlabel("photos and texts taken away, %")
    axes.set_ylabel("test Recall@20")
    axes.set_ylim(bottom=0)
    axes.legend()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    pyplot.close(figure)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MMRecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
