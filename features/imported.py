"""Vectors made elsewhere become a store: `python -m features.imported vectors.npz OUT image`.

* `.npy` [N, F]; `.npz` with one such array, and the ids as `ids` or `item_ids`
* `.pt`, `.pth`: a tensor [N, F], a mapping of ids to vectors, or of `ids` and `features`; by weights_only
* `.parquet` and HuggingFace datasets (`.arrow`, a folder of them): a column of ids, and a column of lists or
  many columns of numbers
* a folder of one `.npy` per item, named by its id, as Ducho writes them
"""

from __future__ import annotations

import logging
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from features.command_line import run_command
from features.errors import FeatureError, nearest
from features.files import content_hash
from features.items import read_items
from features.store import FeatureStore, up_to_date, write_store

log = logging.getLogger("features.imported")  # __name__ is __main__ when this file is the program

Table = tuple[np.ndarray | None, np.ndarray]  # ids, or None where rows are numbered, and [N, F]
_BLOCK = 4096
_MAX_WIDTH = 100_000


def read_vectors(path: Path, *, id_column: str | None = None, column: str | None = None) -> Table:
    """Ids and vectors of a file or folder.

    Args:
        path: see above.
        id_column: column of ids in a table; found by its usual names where not given.
        column: column of vectors in a table, or array of an .npz; the only fitting one where not given.

    Returns:
        Ids as text [N], or None where there are none, and float [N, F].

    Raises:
        FeatureError: nothing there, another format, or vectors of several lengths.
    """
    readers = {".npy": _read_npy, ".npz": _read_npz, ".pt": _read_torch, ".pth": _read_torch}
    suffix = path.suffix.lower()
    if not path.exists():
        raise FeatureError(f"there is nothing at {path}: expected a file or a folder of vectors")
    if path.is_dir():
        ids, matrix = _read_folder(path, id_column, column)
    elif suffix in readers:
        ids, matrix = readers[suffix](path, column)
    elif suffix in (".parquet", ".arrow"):
        ids, matrix = _read_table([path], id_column, column)
    else:
        raise FeatureError(
            f"{path} ends in '{suffix}': expected .npy, .npz, .pt, .parquet, .arrow or a folder"
        )
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or 0 in matrix.shape or matrix.shape[1] > _MAX_WIDTH:
        found = " x ".join(map(str, matrix.shape)) or "one number"
        raise FeatureError(f"{path} holds {found} of {matrix.dtype}: expected float numbers, items x width")
    if ids is not None and len(ids) != len(matrix):
        raise FeatureError(f"{path} has {len(ids):,} ids for {len(matrix):,} rows: expected one each")
    return ids, matrix


def import_vectors(
    source: str,
    out: str,
    modality: str,
    items: str | None = None,
    id_column: str | None = None,
    column: str | None = None,
) -> FeatureStore:
    """Make a feature store of vectors that were made elsewhere.

    A row of zeros or with NaN in it is a missing one.

    Args:
        source: A .npy, .npz, .pt, .parquet or .arrow file, or a folder of .npy files named by id (Ducho)
            or of .arrow files (HuggingFace datasets).
        out: Folder for the store, `<out>/<modality>`.
        modality: What the rows are of, such as image, text or audio.
        items: Item table whose rows the vectors are in the order of, where the source has no ids. Without
            it, row n belongs to the item "n".
        id_column: Column of ids, in the source or in the item table.
        column: Column of vectors in a table, or name of an array in an .npz.

    Returns:
        The store.
    """
    path = Path(source)
    if not modality.isidentifier():
        raise FeatureError(f"modality is '{modality}', expected a word such as image, text or audio")
    ids, matrix = read_vectors(path, id_column=id_column, column=column)
    if items is not None:
        table = read_items(items, id_column=id_column or "item_id")
        if ids is None and len(table) != len(matrix):
            raise FeatureError(
                f"{path} has {len(matrix):,} rows, {items} {len(table):,}: expected one per item, in order"
            )
        ids = table.ids if ids is None else ids
    if ids is None:
        ids = np.arange(len(matrix)).astype(np.str_)
    if len(np.unique(ids)) < len(ids):
        repeated = next(name for name in ids.tolist() if (ids == name).sum() > 1)
        raise FeatureError(f"{path} has the id '{repeated}' twice: expected one vector per item")
    folder = Path(out) / modality
    made_by = {"imported": path.name}
    key = content_hash(ids, np.ascontiguousarray(matrix), made_by, modality)
    if found := up_to_date(folder, key):
        log.info("%s: %s is up to date, nothing to do", modality, folder)
        return found

    def blocks() -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(matrix), _BLOCK):
            block = np.asarray(matrix[start : start + _BLOCK], dtype=np.float32)
            usable = np.flatnonzero(~np.isnan(block).any(axis=1) & block.any(axis=1))
            if len(usable):
                yield usable + start, block[usable]

    store = write_store(folder, modality, ids, blocks(), lambda: {"key": key, "encoder": made_by})
    log.info("%s: %s rows of %d numbers, %s of them missing, in %s", modality, f"{len(ids):,}", store.dim,
             f"{(~store.present).sum():,}", folder)  # fmt: skip
    return store


def _read_npy(path: Path, column: str | None) -> Table:
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's reader raises nearly everything on broken files
        raise _unreadable(path, error) from error
    return None, matrix


def _read_npz(path: Path, column: str | None) -> Table:
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except Exception as error:
        raise _unreadable(path, error) from error
    ids = next((arrays[name] for name in ("ids", "item_ids", "id", "item_id") if name in arrays), None)
    tables = {name: array for name, array in arrays.items() if array.ndim == 2 and array.dtype.kind == "f"}
    matrix = tables[_choose(path, list(tables), column, "array")]
    return (None if ids is None else ids.astype(np.str_)), matrix


def _read_torch(path: Path, column: str | None) -> Table:
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _unreadable(path, error) from error
    if isinstance(found, torch.Tensor):
        return None, found.detach().float().numpy()
    if not isinstance(found, dict) or not found:
        raise FeatureError(f"{path} holds {type(found).__name__}: expected a tensor or a mapping of tensors")
    tables = [name for name, value in found.items() if isinstance(value, torch.Tensor) and value.ndim == 2]
    if tables:
        matrix = found[_choose(path, tables, column, "tensor")].detach().float().numpy()
        ids = next((found[name] for name in ("ids", "item_ids") if name in found), None)
        return (None if ids is None else np.array([str(_plain(one)) for one in ids])), matrix
    vectors = {str(_plain(name)): value for name, value in found.items()}
    if not all(isinstance(value, torch.Tensor) for value in vectors.values()):
        raise FeatureError(f"{path} has no tensor [N, F], and not a tensor for each id")
    return _stack(path, {name: value.detach().float().numpy() for name, value in vectors.items()})


def _read_folder(path: Path, id_column: str | None, column: str | None) -> Table:
    arrow = sorted(path.glob("*.arrow"))
    if arrow:
        return _read_table(arrow, id_column, column)
    files = sorted(path.rglob("*.npy"))
    if not files:
        raise FeatureError(
            f"{path} has no .npy and no .arrow files: expected one .npy per item, or a dataset"
        )
    return _stack(path, {file.stem: _read_npy(file, None)[1] for file in files})


def _stack(path: Path, vectors: dict[str, np.ndarray]) -> Table:
    """One vector per id; [1, F] and [F] alike, several rows of an item are averaged."""
    rows = [np.atleast_2d(vector) for vector in vectors.values()]
    wrong = next(
        (name for name, row in zip(vectors, rows, strict=True) if row.shape[1] != rows[0].shape[1]), None
    )
    if wrong is not None or any(row.ndim != 2 or row.dtype.kind != "f" for row in rows):
        raise FeatureError(f"{path}: vectors of several lengths or kinds, for example of '{wrong}'")
    return np.array(list(vectors)), np.stack([row.mean(axis=0, dtype=np.float32) for row in rows])


def _read_table(paths: Sequence[Path], id_column: str | None, column: str | None) -> Table:
    path = paths[0]
    try:
        frames = [pl.read_parquet(one) if one.suffix == ".parquet" else _read_arrow(one) for one in paths]
        frame = pl.concat(frames)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    usual = ("item_id", "id", "itemid", "asin", "item", "parent_asin")
    name = id_column or next((one for one in frame.columns if one.lower() in usual), None)
    if id_column is not None and id_column not in frame.columns:
        raise FeatureError(f"{path} has no column '{id_column}'{nearest(id_column, frame.columns)}")
    ids = None if name is None else frame[name].cast(pl.String).to_numpy().astype(np.str_)
    lists = [one for one, kind in frame.schema.items() if isinstance(kind, pl.List | pl.Array)]
    numbers = [one for one, kind in frame.schema.items() if kind.is_float() and one != name]
    if lists or column is not None:
        vectors = frame[_choose(path, lists, column, "column of lists")]
        if isinstance(vectors.dtype, pl.Array):
            vectors = vectors.arr.to_list()
        shortest, longest = vectors.list.len().min(), vectors.list.len().max()
        if shortest != longest:
            raise FeatureError(f"{path}: vectors of {shortest!r} to {longest!r} numbers, expected one length")
        return ids, np.array(vectors.to_list(), dtype=np.float32)
    if not numbers:
        raise FeatureError(f"{path} has no column of lists and none of float numbers: {frame.columns[:8]}")
    return ids, frame.select(numbers).to_numpy().astype(np.float32)


def _read_arrow(path: Path) -> pl.DataFrame:
    """HuggingFace datasets keep a stream, others the file format."""
    try:
        return pl.read_ipc_stream(path)
    except pl.exceptions.PolarsError:
        return pl.read_ipc(path)


def _choose(path: Path, names: Sequence[str], wanted: str | None, what: str) -> str:
    if wanted is not None:
        if wanted not in names:
            raise FeatureError(f"{path} has no {what} '{wanted}'{nearest(wanted, names)}")
        return wanted
    if len(names) != 1:
        raise FeatureError(
            f"{path} has {len(names)} of what could be the vectors ({', '.join(names[:6])}): name a {what} "
            "by --column"
        )
    return names[0]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _unreadable(path: Path, error: BaseException) -> FeatureError:
    reason = " ".join(str(error).split())[:120]
    if any(word in reason for word in ("weights_only", "Weights only", "pickle", "Python objects")):
        return FeatureError(f"{path} holds pickled objects, which are never loaded: save plain arrays")
    return FeatureError(f"{path} cannot be read as vectors ({reason}): make it again")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, or 2 after one line on stderr saying what was wrong."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(
        import_vectors,
        argv,
        program="python -m features.imported",
        description="Vectors made elsewhere become a feature store.",
        positional=True,
    )


if __name__ == "__main__":
    sys.exit(main())
