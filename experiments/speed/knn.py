"""The item graph's neighbours: exact search beside the bare matrix product, approximate search, their memory.

`python -m experiments.speed.knn [--items 63001] [--many 1000000] [--width 512]`. Features are made up as
those of a shop with many kinds of things: a centre for every 50 items in 32 directions, mixed into all
columns, with variation in these directions within a kind and noise in all columns.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import time
from functools import partial
from statistics import median

import torch
from torch import Tensor

from experiments.speed.measure import FOLDER, header, output_of, peak_bytes, seconds_of, write_csv
from mmrec.graph.knn import knn

_BLOCK = 4096


def made_up(count: int, width: int) -> Tensor:
    """Features [count, width], block by block, so that making them takes no memory besides."""
    draw = torch.Generator().manual_seed(0)
    mix = torch.randn(32, width, generator=draw)
    kinds = torch.randn(max(1, count // 50), 32, generator=draw)
    features = torch.empty(count, width)
    for block in features.split(_BLOCK):
        kind = kinds[torch.randint(len(kinds), (len(block),), generator=draw)]
        block.copy_((kind + 0.5 * torch.randn(len(block), 32, generator=draw)) @ mix)
        block.add_(torch.randn(len(block), width, generator=draw))
    return features


def full_product(features: Tensor) -> None:
    """All similarities, kept nowhere: what an exact search cannot do without, symmetry aside."""
    out = torch.empty(_BLOCK, len(features))
    for block in features.split(_BLOCK):
        torch.mm(block, features.T, out=out[: len(block)])


def main(argv: list[str]) -> int:
    """Measure, print, write knn.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=63_001)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", choices=["exact", "approximate"], help="one search alone, for its memory")
    chosen = parser.parse_args(argv)
    if chosen.one:
        print(_one(chosen.one, chosen.many if chosen.one == "approximate" else chosen.items, chosen.width))
        return 0
    features, everybody = made_up(chosen.items, chosen.width), torch.ones(chosen.items, dtype=torch.bool)
    knn(features[:5000], everybody[:5000])  # compiles
    product, exact = [], []
    for _ in range(chosen.repeats):
        product.append(seconds_of(partial(full_product, features)))
        exact.append(seconds_of(partial(knn, features, everybody, search="exact")))
    del features
    rows: list[dict[str, object]] = []
    base = median(product)
    threads = int(header()["threads"])
    for what in ("exact", "approximate"):
        words = ["-m", "experiments.speed.knn", "--one", what, "--items", str(chosen.items)]
        said = output_of([*words, "--many", str(chosen.many), "--width", str(chosen.width)], threads)
        items, seconds, recall, mib = said.split()
        if what == "exact":
            seconds = f"{median(exact):.1f}"
        rows.append({"search": what, "items": items, "width": chosen.width, "seconds": seconds})
        rows[-1] |= {"full_product_seconds": f"{base:.1f}" if what == "exact" else "", "recall": recall}
        rows[-1]["peak_mib"] = mib
        print(rows[-1], flush=True)
    write_csv(FOLDER / "knn.csv", rows)
    return 0


def _one(search: str, count: int, width: int) -> str:
    """Items, seconds, recall, and the process's memory at its highest, features included."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("mmrec").addHandler(handler)
    logging.getLogger("mmrec").setLevel(logging.INFO)
    features, started = made_up(count, width), time.perf_counter()
    knn(features, torch.ones(count, dtype=torch.bool), search=search)  # type: ignore[arg-type]
    seconds = time.perf_counter() - started
    recall = next((found[1] for line in said if (found := re.search(r"recall@\d+ ([.\d]+)", line))), "1")
    print(*said, sep="\n")
    return f"{count} {seconds:.1f} {recall} {peak_bytes() / 2**20:.0f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
