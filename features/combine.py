"""Several stores as one, item by item: `python -m features.combine OUT --stores A B --how mean`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from features.base import Float32
from features.command_line import run_command
from features.errors import FeatureError
from features.files import content_hash
from features.store import FeatureStore, open_stores, up_to_date, write_store

log = logging.getLogger("features.combine")  # __name__ is __main__ when this file is the program

How = Literal["concat", "mean"]
_BLOCK = 4096


def combine_stores(
    stores: Sequence[FeatureStore], out: Path, *, how: How = "concat", modality: str = "fused"
) -> FeatureStore:
    """One row per item from those of several stores, each scaled to length 1 first, so that none outweighs.

    Args:
        stores: at least two. The first gives the items and their order.
        out: folder of the new store.
        how: `concat` puts rows side by side, zeros where an item lacks a part; `mean` takes the mean of those
            an item has, of length 1 again: for an image and a text encoder that share a space, as CLIP's do.
        modality: name of the result.

    Returns:
        The store. An item is missing if it lacks all parts.

    Raises:
        FeatureError: fewer than two stores, no items in common, or other widths for `mean`.
    """
    if len(stores) < 2:
        raise FeatureError(f"{len(stores)} store to combine, expected at least two")
    widths = [store.dim for store in stores]
    if how == "mean" and len(set(widths)) > 1:
        raise FeatureError(f"rows of {widths} numbers have no mean: expected one width, or choose concat")
    ids = stores[0].ids
    parts = [store.join(ids) for store in stores]
    made_by = {"combine": how, "of": [store.manifest.get("encoder", store.path.name) for store in stores]}
    key = content_hash(ids, *(array for part in parts for array in part), how, modality)
    if found := up_to_date(out, key):
        return found
    present = np.any([mask for _, mask in parts], axis=0)

    def blocks() -> Iterator[tuple[Any, Float32]]:
        for start in range(0, len(ids), _BLOCK):
            rows = np.flatnonzero(present[start : start + _BLOCK]) + start
            if len(rows):
                scaled = [_unit(matrix[rows]) for matrix, _ in parts]
                yield (
                    rows,
                    np.concatenate(scaled, axis=1) if how == "concat" else _unit(np.sum(scaled, axis=0)),
                )

    def describe() -> dict[str, Any]:
        return {"key": key, "encoder": made_by}

    store = write_store(out, modality, ids, blocks(), describe)
    log.info("%s: %s of %s items, %d numbers each, in %s", modality, f"{present.sum():,}", f"{len(ids):,}",
             store.dim, out)  # fmt: skip
    return store


def _unit(rows: Float32) -> Float32:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def combine(out: str, stores: list[str], how: How = "concat", modality: str = "fused") -> FeatureStore:
    """Combine feature stores, item by item.

    Args:
        out: Folder for the new store, `<out>/<modality>`.
        stores: Folders of stores, with one or several modalities each.
        how: concat puts rows side by side; mean takes their mean, for encoders that share a space.
        modality: Name of the result.

    Returns:
        The store.
    """
    opened = [store for path in stores for store in open_stores(path).values()]
    return combine_stores(opened, Path(out) / modality, how=how, modality=modality)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, or 2 after one line on stderr saying what was wrong."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(
        combine,
        argv,
        program="python -m features.combine",
        description="Several feature stores as one.",
    )


if __name__ == "__main__":
    sys.exit(main())
