"""Readers under coverage-guided fuzzing: `python tests/fuzz_readers.py -max_total_time=300`.

It needs `pip install atheris`, which has no wheels for every Python, and is not part of the suite, whose
Hypothesis tests do the same without guidance. Whatever bytes come, a reader gives a result or one of the
project's own errors of one line; anything else ends the run and leaves the input in a file.
"""

from __future__ import annotations

import importlib
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

atheris: Any = importlib.import_module("atheris")  # no requirement of the project's

with atheris.instrument_imports(include=["features", "mmrec"]):
    from features.errors import MMRecError
    from features.imported import read_vectors
    from features.items import read_items
    from features.journal import Journal
    from features.photos import load_photo
    from features.sources import members_by_id
    from features.store import open_stores
    from mmrec.data.convert import convert
    from mmrec.data.interactions import read_interactions

FOLDER = Path(tempfile.mkdtemp(prefix="mmrec-fuzz-"))


def _file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def run(data: bytes) -> object:
        (FOLDER / name).write_bytes(data)
        return read(FOLDER / name)

    return run


def _layout(layout: str, *names: str) -> Callable[[bytes], object]:
    """The bytes cut at zero bytes are the layout's files."""

    def run(data: bytes) -> object:
        folder = FOLDER / layout
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(FOLDER / "out", ignore_errors=True)
        folder.mkdir()
        for name, part in zip(names, data.split(b"\0"), strict=False):
            (folder / name).write_bytes(part)
        return convert(str(folder), str(FOLDER / "out"), source_format=layout)

    return run


def _journal(path: Path) -> None:
    with Journal(path, "key"):
        pass


TARGETS = [
    *(_file(f"clicks{suffix}", read_interactions) for suffix in (".csv", ".inter", ".parquet", ".csv.gz")),
    *(_file(f"items{suffix}", read_items) for suffix in (".csv", ".tsv", ".parquet")),
    *(_file(f"vectors{suffix}", read_vectors) for suffix in (".npy", ".npz", ".pt", ".parquet", ".arrow")),
    _file("photo", load_photo),
    _file("shard.tar", lambda path: members_by_id([path])),
    _file("image_feat.npy", open_stores),
    _file("journal", _journal),
    _layout("amazon", "reviews_a.json", "meta_a.json"),
    _layout("lattice", "train.json", "val.json", "test.json"),
    _layout("mmrec", "a.inter"),
    _layout("movielens", "ratings.dat", "movies.dat"),
    _layout("elliot", "train.tsv", "val.tsv"),
]


def one(data: bytes) -> None:
    """The first byte chooses the reader."""
    if not data:
        return
    try:
        TARGETS[data[0] % len(TARGETS)](data[1:])
    except MMRecError as error:
        if "\n" in str(error):
            raise AssertionError("an error of more than one line") from error


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
