"""The least time a training step can take on this machine, from what it cannot do without.

* A sparse product reads, for each entry, a row of the other matrix and the entry, and writes its result: at
  the bandwidth of a copy of buffers as large as the table, which on a small graph is that of the cache.
* Adam reads a parameter, its gradient and two moments and writes three of them: at the bandwidth of main
  memory.
* The batch's rows of features are read once: at that bandwidth, too.
* Dense products (forward, and one backward for the map; one more for trainable features) take their
  operations, at the rate measured for a product of that shape.

Everything else (sampling, losses, gathering) is counted as nothing, so that no program can reach it.
"""

from __future__ import annotations

from functools import cache

import torch

from experiments.speed.cases import Case
from experiments.speed.measure import copy_bandwidth, product_rate
from mmrec.graph.view import GraphView
from mmrec.models.bm3 import BM3
from mmrec.models.freedom import FREEDOM

DIM, FLOAT = 64, 4
_bandwidth, _rate = cache(copy_bandwidth), cache(product_rate)


def product_bytes(entries: float, rows: float) -> float:
    """Bytes moved by a sparse product with `entries` entries and `rows` rows of result."""
    return entries * (DIM * FLOAT + 8) + rows * DIM * FLOAT


def step_bound(case: Case, view: GraphView, batch: int) -> float:
    """Seconds of one step."""
    users, items = view.num_users, view.num_items
    nodes = users + items
    table = nodes * DIM * FLOAT
    draw = torch.Generator().manual_seed(0)
    negatives = torch.randint(items, (batch,), generator=draw)
    if case.augment is not None:
        view = case.augment(view, draw)
    degree = torch.bincount(torch.cat([view.edge_index[0], view.edge_index[1] + users]), minlength=nodes)
    positive = view.edge_index[:, torch.randint(view.edge_index.shape[1], (batch,), generator=draw)]
    touched = torch.unique(torch.cat([positive[0], positive[1] + users, negatives + users]))
    layers = case.options.get("n_layers", 2 if case.model is FREEDOM else 1)
    whole = product_bytes(int(degree.sum()), nodes)
    part = product_bytes(int(degree[touched].sum()), len(touched))
    # The first and the last product may be for the batch's nodes alone; BM3 penalises all rows and needs all.
    moved = 2 * layers * whole if case.model is BM3 else 2 * ((layers - 1) * whole + part)
    if case.model is FREEDOM and view.item_edge_index is not None:
        moved += 2 * product_bytes(view.item_edge_index.shape[1], items)
    seconds = moved / _bandwidth(table) / 1e9
    memory = 7.0 * table
    for width in (case.widths or {}).values():
        distinct = len(torch.unique(positive[1]))
        rows = batch if case.model is FREEDOM else distinct  # FREEDOM projects differences of two rows
        read = 2 * batch if case.model is FREEDOM else distinct
        memory += read * width * FLOAT
        products = 2
        if case.options.get("trainable_features"):
            products, memory = 3, memory + 7.0 * items * width * FLOAT
        seconds += products * 2 * rows * width * DIM / _rate(rows, width, DIM) / 1e9
    return seconds + memory / _bandwidth(2**26) / 1e9
