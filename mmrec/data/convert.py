"""From one dataset layout to another: `python -m mmrec.data.convert FROM TO`."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from features.command_line import run_command
from features.files import atomic_folder
from mmrec.data.formats import json_files, tables
from mmrec.data.formats.base import BadRows, Exchange
from mmrec.data.interactions import drop_repeats, k_core, keep_rated
from mmrec.data.split import SplitMethod, split
from mmrec.errors import DataError, nearest

log = logging.getLogger("mmrec")

READERS = {**tables.READERS, **json_files.READERS}
WRITERS = {**tables.WRITERS, **json_files.WRITERS}


def convert(
    source: str,
    target: str,
    source_format: str | None = None,
    target_format: str = "own",
    split: SplitMethod | None = None,
    split_seed: int = 0,
    min_rating: float | None = None,
    k_core: int = 0,
    strict: bool = False,
) -> Exchange:
    """Convert a dataset; ids, ratings, times and split labels stay as far as the layout has room for them.

    Rows that cannot be used are counted, shown (the first ten of each kind) and skipped.

    Args:
        source: Folder of the dataset.
        target: Folder to write, replaced once it is complete.
        source_format: Its layout: own, mmrec, recbole, elliot, movielens, microlens, x-wines, amazon,
            lattice (MMSSL's too) or pyg; found by its files if not given.
        target_format: Layout to write: own (clicks.parquet, items.parquet), mmrec, recbole, elliot, lattice,
            pyg, or ducho (features only).
        split: Split anew: random, leave_one_out, user_time or global_time.
        split_seed: Seed of the random splits.
        min_rating: Keep interactions rated at least this.
        k_core: Keep users and items with at least this many interactions.
        strict: Stop at the first bad row.

    Returns:
        What was written.
    """
    folder = Path(source)
    if not folder.is_dir():
        raise DataError(f"{source} is no folder: expected the folder of a dataset")
    name = source_format or layout_of(folder)
    if name not in READERS:
        raise DataError(f"source_format is '{name}'{nearest(name, READERS)}")
    if target_format not in WRITERS:
        raise DataError(f"target_format is '{target_format}'{nearest(target_format, WRITERS)}")
    bad = BadRows(strict)
    try:
        data = READERS[name](folder, bad)
        if split is not None or min_rating is not None or k_core:
            data = _changed(data, split, split_seed, min_rating, k_core)
        _write(data, Path(target), target_format)
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"{folder} cannot be read as {name} ({reason}): name another --source_format"
        ) from error
    bad.report()
    log.info("%s (%s) -> %s (%s)", folder, name, target, target_format)
    return data


def layout_of(folder: Path) -> str:
    """The layout that a folder's files are named like.

    Raises:
        DataError: none, or it cannot be told.
    """
    names = {path.name for path in folder.iterdir()}

    def some(*endings: str) -> bool:
        return any(name.endswith(endings) for name in names)

    found = [
        layout
        for layout, fits in {
            "recbole": some(".inter") and some(".item", ".user", ".train.inter"),
            "mmrec": some(".inter") and not some(".item", ".user", ".train.inter"),
            "lattice": "train.json" in names or "5-core" in names,
            "elliot": "train.tsv" in names,
            "movielens": bool(names & {"u.data", "ratings.dat", "ratings.csv"}),
            "microlens": some("_pairs.csv"),
            "x-wines": any(name.startswith("XWines_") for name in names),
            "amazon": any(name.startswith(("reviews_", "meta_")) for name in names)
            or some(".jsonl", ".jsonl.gz"),
            "pyg": "hetero.pt" in names,
            "own": any(name.startswith("clicks.") for name in names),
        }.items()
        if fits
    ]
    if len(found) != 1:
        told = " or ".join(found) if found else "none of the known layouts"
        raise DataError(f"{folder} looks like {told}: name it by --source_format{nearest('', READERS)}")
    return found[0]


_split, _k_core = split, k_core  # the options have these names


def _changed(
    data: Exchange, method: SplitMethod | None, seed: int, min_rating: float | None, core: int
) -> Exchange:
    """Cleaned and split as for training; this needs all clicks at once."""
    frame = data.clicks.collect(engine="streaming")
    if min_rating is not None:
        frame = keep_rated(frame, min_rating)
    frame, _ = drop_repeats(frame)
    if core:
        frame = _k_core(frame, core)
    if method is not None:
        frame = _split(frame, method, seed=seed)
        frame = frame.drop("label", strict=False).rename({"split": "label"})
    return Exchange(frame.lazy(), data.items, data.features, data.photos)


def _write(data: Exchange, target: Path, layout: str) -> None:
    if target.is_dir() and any(target.iterdir()) and not (target / ".mmrec-converted").is_file():
        raise DataError(f"{target} is a folder of something else: choose another place")
    with atomic_folder(target) as folder:
        # writers name files by the dataset, which the temporary folder's name is not
        named = folder / target.name
        named.mkdir()
        WRITERS[layout](data, named)
        for path in named.iterdir():
            path.rename(folder / path.name)
        named.rmdir()
        if layout == "own":
            for name, store in data.features.items():
                place = folder / "features" / name
                if store.path.is_dir():
                    shutil.copytree(store.path, place)
                else:
                    place.parent.mkdir(exist_ok=True)
                    shutil.copy(store.path, place.parent / store.path.name)
        (folder / ".mmrec-converted").write_text(f"{layout}\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, or 2 after one line on stderr saying what was wrong."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(
        convert,
        argv,
        program="python -m mmrec.data.convert",
        description="A dataset from one layout to another.",
        positional=True,
        switches=["--strict"],
    )


if __name__ == "__main__":
    sys.exit(main())
