"""Fewer columns for a feature store, by PCA: `python -m features.reduce STORE --out OUT --width 512`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from features.command_line import run_command
from features.errors import FeatureError
from features.files import content_hash
from features.store import FeatureStore, open_stores, up_to_date, write_store

log = logging.getLogger("features.reduce")  # __name__ is __main__ when this file is the program

_BLOCK = 4096


def reduce_store(store: FeatureStore, out: Path, *, width: int, whiten: bool = False) -> FeatureStore:
    """Rotate a store's rows onto their `width` directions of largest variance (PCA, Hotelling 1933).

    The directions are learned from the rows that are present; missing rows stay missing. Cosines change, as
    PCA takes off the mean row: neighbours are better looked for in the full features. Nothing is done again
    that is there already, made from the same numbers.

    Args:
        store: what to reduce.
        out: folder of the new store.
        width: columns to keep; fewer where there are fewer columns or rows.
        whiten: scale the columns to unit variance.

    Returns:
        The new store; its manifest says how much of the variance is kept.

    Raises:
        FeatureError: a width below 1, or no row to learn from.
        MMRecError: the disk is full or cannot be written to.
    """
    if width < 1:
        raise FeatureError(f"width is {width}, expected a whole number from 1")
    rows = np.flatnonzero(store.present)
    if len(rows) == 0:
        raise FeatureError(f"{store.path} has no row with anything in it: PCA has nothing to learn from")
    made_by = {"reduce": "PCA", "width": str(width), "whiten": str(whiten), "learn": version("scikit-learn")}
    key = content_hash(store.ids, np.asarray(store.matrix), store.present, made_by)
    if found := up_to_date(out, key):
        return found
    from sklearn.decomposition import PCA

    kept = min(width, store.dim, len(rows))
    pca = PCA(kept, whiten=whiten, random_state=0)
    full = np.asarray(store.matrix[rows], dtype=np.float32)
    if not np.isfinite(full).all():
        raise FeatureError(f"{store.path} holds numbers that are not finite: extract the features again")
    with np.errstate(invalid="ignore", divide="ignore"):  # the share of no variance at all is 0 / 0
        reduced = pca.fit_transform(full)
        share = float(np.nan_to_num(pca.explained_variance_ratio_).sum())
    reduced = np.nan_to_num(reduced.astype(np.float32))
    log.info(
        "%s: PCA from %d to %d columns keeps %.1f %% of the variance",
        *(store.modality, store.dim, kept, 100 * share),
    )

    def blocks() -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(rows), _BLOCK):
            yield rows[start : start + _BLOCK], reduced[start : start + _BLOCK]

    def describe() -> dict[str, Any]:
        source = {"encoder": store.manifest.get("encoder"), "key": store.manifest.get("key")}
        return {"key": key, "encoder": made_by, "of": source, "explained_variance": round(share, 6)}

    return write_store(out, store.modality, store.ids, blocks(), describe)


def reduce_stores(store: str, out: str, width: int = 512, whiten: bool = False) -> dict[str, FeatureStore]:
    """Reduce each modality of a feature store to fewer columns by PCA.

    Args:
        store: Folder of one store or of several, or features in MMRec's layout.
        out: Folder for the new stores, `<out>/<modality>`.
        width: Columns to keep.
        whiten: Scale the columns to unit variance.

    Returns:
        Modality -> new store.
    """
    stores = open_stores(store)
    return {
        name: reduce_store(one, Path(out) / name, width=width, whiten=whiten) for name, one in stores.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, or 2 after one line on stderr saying what was wrong."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(
        reduce_stores,
        argv,
        program="python -m features.reduce",
        description="Fewer columns for a feature store, by PCA.",
        positional=False,
        switches=["--whiten"],
    )


if __name__ == "__main__":
    sys.exit(main())
