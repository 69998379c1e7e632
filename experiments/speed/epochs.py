"""Training epochs and evaluation on Amazon Baby, beside MMRec where a checkout of it is given.

`python -m experiments.speed.epochs [--mmrec PATH] [--data FOLDER] [--device cpu] [--repeats 5]`
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch

from experiments.speed.bounds import step_bound
from experiments.speed.cases import CASES, baby, train
from experiments.speed.measure import (
    FOLDER,
    header,
    product_rate,
    seconds_of,
    write_csv,
)
from experiments.speed.peer import Peer, save_clicks
from experiments.speed.picture import draw_ratios
from features.errors import MMRecError
from mmrec.evaluate.evaluator import Evaluator
from mmrec.models.lightgcn import LightGCN
from mmrec.report.progress import console

METRICS = ("recall", "ndcg", "precision", "map")
STEPS_BATCH = 2048


def main(argv: list[str]) -> int:
    """Measure, print, write epochs.csv and epochs.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mmrec", type=Path, help="checkout of enoche/MMRec to measure beside")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/baby"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of epochs.csv and epochs.png")
    chosen = parser.parse_args(argv)
    if not (chosen.data / "baby.inter").is_file():
        raise MMRecError(f"{chosen.data} has no baby.inter; name the folder of Amazon Baby with --data")
    view, valid, test = baby(chosen.data)
    console.print(" · ".join(f"{name} {value}" for name, value in header().items()), highlight=False)
    threads, rows = torch.get_num_threads(), []
    with tempfile.TemporaryDirectory() as folder:
        inter = save_clicks(chosen.data, Path(folder))
        for name, case in ((name, CASES[name]) for name in chosen.cases):
            peer = _peer(chosen, threads, case, folder, inter)
            theirs: list[float] = []
            between = (
                None if peer is None else lambda peer=peer, theirs=theirs: theirs.append(peer.ask("epoch"))
            )
            ours = train(case, view, epochs=chosen.repeats + 1, device=chosen.device, between=between)
            bound = step_bound(case, view, STEPS_BATCH) * -(-view.edge_index.shape[1] // STEPS_BATCH)
            rows.append(_row(f"epoch: {name}", ours[1:], theirs[1:], case.goal, bound))
            if peer is not None and name.startswith("LightGCN, 2"):
                rows.append(_evaluation(view, valid, test, peer, chosen))
            if peer is not None:
                peer.__exit__()
        if chosen.mmrec is None:
            rows.append(_evaluation(view, valid, test, None, chosen))
    write_csv(chosen.out / "epochs.csv", rows)
    draw_ratios(rows, chosen.out / "epochs.png")
    return 0


def _peer(chosen: Any, threads: int, case: Any, folder: str, inter: str) -> Peer | None:
    if chosen.mmrec is None:
        return None
    peer = Peer(chosen.mmrec, threads)
    peer.ask("write", folder=folder, inter=inter, widths=case.peer_widths)
    peer.ask("prepare", model=case.model.__name__, options=case.peer)
    return peer


def _evaluation(view: Any, valid: Any, test: Any, peer: Peer | None, chosen: Any) -> dict[str, object]:
    model, evaluator = LightGCN(view, n_layers=2).to(chosen.device), Evaluator(metrics=METRICS)
    view = view.to(chosen.device)
    splits = [evaluator.prepare(view, valid), evaluator.prepare(view, test)]
    ours, theirs = [], []
    for _ in range(chosen.repeats + 1):
        ours.append(seconds_of(lambda: evaluator.evaluate_all(model, view, splits)))
        if peer is not None:
            theirs.append(peer.ask("evaluate"))
    users, items, batch = view.num_users, view.num_items, 256
    bound = 2 * users * items * 64 / product_rate(batch, 64, items) / 1e9
    return _row("evaluation: valid and test, 4 metrics at 4 K", ours[1:], theirs[1:], 8, bound)


def _row(
    name: str, ours: list[float], theirs: list[float], goal: float, bound: float | None
) -> dict[str, object]:
    mine, other = median(ours), median(theirs) if theirs else None
    row: dict[str, object] = {
        "what": name,
        "ours": f"{mine:.4g}",
        "mmrec": "" if other is None else f"{other:.4g}",
        "times_faster": "" if other is None else f"{other / mine:.1f}",
        "goal": goal,
        "bound": "" if bound is None else f"{bound:.3g}",
        "share_of_bound": "" if bound is None else f"{bound / mine:.2f}",
        "runs": len(ours),
    }
    console.print("  ".join(f"{key} {value}" for key, value in row.items() if value != ""), highlight=False)
    return row


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MMRecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
