"""Sparse products forward and backward at three sizes, per back-end and order of nodes, against a copy.

`python -m experiments.speed.propagation [--data FOLDER]`

Sports and Electronics are made up, with their numbers of users, items and clicks and long tails.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from experiments.speed.bounds import DIM, FLOAT, product_bytes
from experiments.speed.measure import FOLDER, copy_bandwidth, header, median_seconds, write_csv
from mmrec.data.dataset import load_data
from mmrec.errors import GraphError
from mmrec.graph.matrices import user_item_matrix
from mmrec.graph.ops import smooth
from mmrec.graph.view import Backend, GraphView
from mmrec.train.memory import keep_freed_memory

SHAPES = {
    "baby": (19_445, 7_050, 118_551),
    "sports": (35_598, 18_357, 218_409),
    "electronics": (192_403, 63_001, 1_254_441),
}
BACKENDS: tuple[Backend, ...] = ("native", "csr", "scatter")
ORDERS = ("as it comes", "degree", "reverse Cuthill-McKee")


def main(argv: list[str]) -> int:
    """Measure, print, write propagation.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/baby"))
    chosen = parser.parse_args(argv)
    keep_freed_memory()
    print(header())
    rows: list[dict[str, object]] = []
    for name, shape in SHAPES.items():
        real = name == "baby" and (chosen.data / "baby.inter").is_file()
        if real:
            view = load_data(interactions="baby.inter", split="labels", root=chosen.data).train
        else:
            view = GraphView(*shape[:2], long_tailed(*shape))
        table = (view.num_users + view.num_items) * DIM * FLOAT
        bandwidth = copy_bandwidth(table)
        for order in ORDERS:
            for backend in BACKENDS if order == ORDERS[0] else BACKENDS[:1]:
                row: dict[str, object] = {"graph": name, "clicks": view.edge_index.shape[1], "real": real}
                row |= {"order": order, "backend": backend, **_measure(view, order, backend, bandwidth)}
                if "ms" in row:
                    print(row)
                    rows.append(row)
    write_csv(FOLDER / "propagation.csv", rows)
    return 0


def long_tailed(num_users: int, num_items: int, num_clicks: int, seed: int = 0) -> Tensor:
    """Distinct clicks, int64 [2, E], with popular items and busy users: E is reached or nearly so."""
    draw = torch.Generator().manual_seed(seed)
    count = num_clicks + num_clicks // 4
    users = (torch.rand(count, generator=draw) ** 2 * num_users).long()
    items = (torch.rand(count, generator=draw) ** 3 * num_items).long()
    keys = torch.unique(users * num_items + items)
    keys = keys[torch.randperm(len(keys), generator=draw)[:num_clicks]].sort().values
    user = torch.randperm(num_users, generator=draw)[keys // num_items]
    item = torch.randperm(num_items, generator=draw)[keys % num_items]
    return torch.stack([user, item])


def _measure(view: GraphView, order: str, backend: Backend, bandwidth: float) -> dict[str, object]:
    view = replace(reordered(view, order), backend=backend)
    matrix = user_item_matrix(view)
    x = torch.randn(view.num_users + view.num_items, DIM, requires_grad=True)
    coming = torch.randn(x.shape)

    def forward() -> Tensor:
        with torch.no_grad():
            return matrix.multiply(x)

    def both() -> None:
        x.grad = None
        smooth(matrix, x, n_layers=1, readout="last").backward(coming)

    try:
        forward()
    except GraphError:  # torch-scatter is optional
        return {}
    entries = 2 * view.edge_index.shape[1]
    moved = product_bytes(entries, len(x))
    seconds, seconds_both = median_seconds(forward, repeats=15), median_seconds(both, repeats=15)
    return {
        "ms": f"{seconds * 1e3:.3g}",
        "ms_with_backward": f"{seconds_both * 1e3:.3g}",
        "GB_per_s": f"{moved / seconds / 1e9:.1f}",
        "copy_GB_per_s": f"{bandwidth:.1f}",
        "share": f"{moved / seconds / 1e9 / bandwidth:.2f}",
        "share_with_backward": f"{2 * moved / seconds_both / 1e9 / bandwidth:.2f}",
    }


def reordered(view: GraphView, order: str) -> GraphView:
    """The same graph with users among users and items among items in another order."""
    if order == ORDERS[0]:
        return view
    users, items = view.edge_index
    if order == "degree":
        user_rank = torch.bincount(users, minlength=view.num_users).argsort(descending=True)
        item_rank = torch.bincount(items, minlength=view.num_items).argsort(descending=True)
    else:
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import reverse_cuthill_mckee

        csr = user_item_matrix(view).csr
        parts = csr.values().numpy(), csr.col_indices().numpy(), csr.crow_indices().numpy()
        found = reverse_cuthill_mckee(csr_array(parts, shape=tuple(csr.shape)), symmetric_mode=True)
        nodes = torch.from_numpy(found.astype("int64"))
        user_rank, item_rank = nodes[nodes < view.num_users], nodes[nodes >= view.num_users] - view.num_users
    new_user, new_item = torch.empty_like(user_rank), torch.empty_like(item_rank)
    new_user[user_rank], new_item[item_rank] = torch.arange(len(user_rank)), torch.arange(len(item_rank))
    return replace(view, edge_index=torch.stack([new_user[users], new_item[items]]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
