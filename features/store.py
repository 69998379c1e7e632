"""The feature store: one folder per modality with a matrix, its item ids, and where everything came from.

* `<out>/image/matrix.npy`: float32 or float16 [N, F], memory-mapped on reading; zeros where nothing is known
* `<out>/image/item_ids.npy`: the N ids as text
* `<out>/image/present.npy`: bool [N], False where the item has no photo or text, or a broken one
* `<out>/image/manifest.json`: encoder, checkpoint hash, preprocessing, hashes of ids and inputs, versions

Rows carry their ids and are joined by id, never by position.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from features.errors import FeatureError, MMRecError
from features.files import atomic_folder, content_hash

FORMAT, VERSION = "mmrec-features", 1
MANIFEST = "manifest.json"
_SUFFIX = "_feat.npy"  # MMRec's layout: image_feat.npy, text_feat.npy
_CHUNK = 4096  # rows of zeros written at a time

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureStore:
    """The rows of one modality, opened for reading.

    Attributes:
        modality: `image`, `text`, `audio`, …
        ids: item ids `[N]`.
        matrix: `[N, F]` float32 or float16, memory-mapped.
        present: bool `[N]`; False where there was nothing to encode.
        path: the folder, or the .npy file of MMRec's layout.
        manifest: content of manifest.json; empty for MMRec's layout.
    """

    modality: str
    ids: npt.NDArray[np.str_]
    matrix: npt.NDArray[Any]
    present: npt.NDArray[np.bool_]
    path: Path
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """Length F of a row."""
        return int(self.matrix.shape[1])

    def join(
        self, item_ids: Sequence[str] | npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Rows for the given items, by id; how many had none is logged.

        Args:
            item_ids: I ids in any order; numbers are compared by their text.

        Returns:
            float32 `[I, F]`, contiguous, and bool `[I]`: False, with a zero row, where the store lacks the
            item or has nothing for it.

        Raises:
            FeatureError: no id in common; NaN or infinite numbers in a row that is present; a matrix without
                ids (MMRec's layout) that has too few rows for the items.
        """
        wanted = np.asarray(item_ids).astype(np.str_)
        order = np.argsort(self.ids, kind="stable")
        at = np.searchsorted(self.ids, wanted, sorter=order)
        rows = order[np.minimum(at, len(order) - 1)]
        known = self.ids[rows] == wanted
        if len(wanted) and not known.any():
            raise FeatureError(
                f"{self.path} was made for other items: none of the {len(wanted):,} ids is in it (asked for "
                f"'{wanted[0]}', it has '{self.ids[0]}'{self._numbering()}): extract features of these items"
            )
        if not self.manifest and not known.all():
            lacking = str(wanted[~known][0])
            raise FeatureError(
                f"{self.path} has {len(self.ids):,} rows, numbered from 0, and none for {np.sum(~known):,} "
                f"of {len(wanted):,} items, for example '{lacking}': expected one row per item"
            )
        present = known.copy()
        present[known] = self.present[rows[known]]
        out = np.zeros((len(wanted), self.dim), dtype=np.float32)
        # what is too large for float32 becomes infinite, and is refused below
        with np.errstate(over="ignore", invalid="ignore"):
            out[present] = self.matrix[rows[present]]
        bad = np.flatnonzero(~np.isfinite(out).all(axis=1))
        if len(bad):
            first = bad[0]
            column = int(np.flatnonzero(~np.isfinite(out[first]))[0])
            raise FeatureError(
                f"{self.path}: row {rows[first]}, column {column} (item '{wanted[first]}') is "
                f"{out[first, column]} ({len(bad):,} such rows): features must be finite"
            )
        lacking_rows, empty_rows = int((~known).sum()), int((known & ~present).sum())
        if lacking_rows or empty_rows:
            log.info(
                "%s features: of %s items %s have no row and %s an empty one; they count as missing",
                *(self.modality, f"{len(wanted):,}", f"{lacking_rows:,}", f"{empty_rows:,}"),
            )
        return out, present

    def _numbering(self) -> str:
        return "" if self.manifest else ", its rows being numbered from 0"


def open_stores(path: str | os.PathLike[str]) -> dict[str, FeatureStore]:
    """Open what is at `path`, without reading the matrices.

    Args:
        path: one store, a folder of stores (`<path>/image/`, `<path>/text/`), a folder in MMRec's layout
            (`image_feat.npy`, `text_feat.npy`, …), or one such file. Matrices in MMRec's layout carry no ids:
            row n belongs to the item with the id "n". A row of nothing but zeros counts as missing there.

    Returns:
        Modality -> store, sorted by modality.

    Raises:
        FeatureError: nothing there, an unfinished or altered folder, a matrix of another kind (pickled
            objects are never loaded).
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".npy":
        store = _open_matrix(path)
        return {store.modality: store}
    if not path.is_dir():
        raise FeatureError(
            f"no feature store at {path}: expected a folder made by features.extract, or *{_SUFFIX} files"
        )
    if _is_store(path):
        store = _open_folder(path)
        return {store.modality: store}
    stores: dict[str, FeatureStore] = {}
    folders = (part for part in sorted(path.iterdir()) if part.is_dir() and not part.name.startswith("."))
    for part in (*filter(_is_store, folders), *sorted(path.glob("*" + _SUFFIX))):
        store = _open_folder(part) if part.is_dir() else _open_matrix(part)
        if store.modality in stores:
            raise FeatureError(
                f"{path} has '{store.modality}' twice ({stores[store.modality].path}, {part}): keep one"
            )
        stores[store.modality] = store
    if not stores:
        raise FeatureError(f"{path} holds no features: expected <modality>/{MANIFEST} or <modality>{_SUFFIX}")
    return dict(sorted(stores.items()))


def input_hashes(store: FeatureStore) -> npt.NDArray[np.bytes_] | None:
    """A hash of what each row was made of, `S16` [N], empty where there was nothing; None if not kept."""
    path = store.path / "inputs.npy"
    if not path.is_file():
        return None
    hashes = _load(path)
    return hashes if hashes.dtype == np.dtype("S16") and hashes.shape == store.ids.shape else None


def up_to_date(folder: Path, key: str) -> FeatureStore | None:
    """The store at `folder` if it is whole and made from what `key` stands for."""
    try:
        store = next(iter(open_stores(folder).values()))
    except MMRecError:
        return None
    return store if store.manifest.get("key") == key else None


def write_store(
    path: str | os.PathLike[str],
    modality: str,
    ids: npt.NDArray[np.str_],
    blocks: Iterable[tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]],
    describe: Callable[[], Mapping[str, Any]],
    dtype: str = "float32",
    *,
    extra: Mapping[str, npt.NDArray[Any]] | None = None,
) -> FeatureStore:
    """Write a store in one pass and bounded memory; complete or not at all.

    Args:
        path: the store's folder. An older store there is replaced, any other folder is refused.
        modality: what the rows are of.
        ids: all N item ids, unique.
        blocks: at least one `(rows [B], vectors [B, F])`, row numbers rising throughout; rows left out are
            missing.
        describe: asked once the blocks are used up, for what else belongs into the manifest.
        dtype: `float32` or `float16`, how the matrix is kept.
        extra: further arrays to keep, by the name of their .npy file.

    Returns:
        The store, opened.

    Raises:
        FeatureError: numbers that are not finite (in `dtype`), blocks of different widths, a folder that is
            no store.
        MMRecError: the disk is full, or cannot be written to.
    """
    path = Path(path)
    if path.is_dir() and any(path.iterdir()) and not _is_store(path):
        raise FeatureError(f"{path} is a folder of something else: choose another place for the features")
    present = np.zeros(len(ids), dtype=np.bool_)
    with atomic_folder(path) as folder:
        dim = at = 0
        with open(
            folder / "matrix.npy", "wb"
        ) as stream:  # not memory-mapped: a full disk would kill the process
            for rows, vectors in blocks:
                if dim == 0:
                    dim = int(vectors.shape[1])
                    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (len(ids), dim)}
                    np.lib.format.write_array_header_1_0(stream, header)
                _check_block(modality, ids, rows, vectors, dim, at, dtype)
                at = _write_rows(stream, rows, vectors.astype(dtype), at)
                present[rows] = True
            if dim == 0:
                raise FeatureError(
                    f"no item has anything of {modality} to encode: nothing to write to {path}"
                )
            none = np.empty(0, dtype=np.intp)
            _write_rows(stream, none, np.empty((0, dim), dtype=dtype), at, end=len(ids))
        np.save(folder / "item_ids.npy", ids, allow_pickle=False)
        np.save(folder / "present.npy", present, allow_pickle=False)
        for name, array in (extra or {}).items():
            np.save(folder / name, array, allow_pickle=False)
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "modality": modality,
            "rows": len(ids),
            "dim": dim,
            "dtype": dtype,
            "present": int(present.sum()),
            "item_order_hash": content_hash(ids),
            **describe(),
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        (folder / MANIFEST).write_text(text, encoding="utf-8")
    return _open_folder(path)


def _check_block(
    modality: str,
    ids: npt.NDArray[np.str_],
    rows: npt.NDArray[np.intp],
    vectors: npt.NDArray[np.float32],
    dim: int,
    at: int,
    dtype: str,
) -> None:
    if vectors.shape != (len(rows), dim) or (len(rows) and rows[0] < at):
        raise FeatureError(
            f"{modality} features of shape {vectors.shape} for {len(rows)} rows: "
            f"expected ({len(rows)}, {dim})"
        )
    limit = np.finfo(dtype).max
    bad = np.flatnonzero(~(np.abs(vectors) <= limit).all(axis=1))  # NaN compares false
    if len(bad):
        item = ids[rows[bad[0]]]
        raise FeatureError(
            f"the {modality} encoder gave numbers beyond {dtype} for item '{item}': features must be finite"
        )


def _write_rows(
    stream: Any, rows: npt.NDArray[np.intp], vectors: npt.NDArray[Any], at: int, end: int | None = None
) -> int:
    """Write vectors at their rows, zeros in between (and up to `end`); returns the next row."""
    end = end if end is not None else int(rows[-1]) + 1 if len(rows) else at
    for start in range(at, end, _CHUNK):
        stop = min(start + _CHUNK, end)
        block = np.zeros((stop - start, vectors.shape[1]), dtype=vectors.dtype)
        here = (rows >= start) & (rows < stop)
        block[rows[here] - start] = vectors[here]
        stream.write(block.tobytes())
    return max(at, end)


def _is_store(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (MANIFEST, "matrix.npy"))


def _open_folder(path: Path) -> FeatureStore:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        kind = (manifest["format"], manifest["version"])
        modality, shape = str(manifest["modality"]), (int(manifest["rows"]), int(manifest["dim"]))
        order, count = manifest["item_order_hash"], manifest["present"]
    except FileNotFoundError as error:
        raise FeatureError(
            f"{path} is an unfinished store: it has no {MANIFEST}; extract the features again"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FeatureError(
            f"{path / MANIFEST} is not a store's manifest ({error}): extract the features again"
        ) from error
    if kind != (FORMAT, VERSION):
        raise FeatureError(
            f"{path} is {kind[0]} version {kind[1]}, this program reads {FORMAT} version {VERSION}"
        )
    matrix = _load(path / "matrix.npy", mapped=True)
    ids, present = _load(path / "item_ids.npy"), _load(path / "present.npy")
    if matrix.shape != shape:
        raise FeatureError(
            f"{path / 'matrix.npy'} is {_size(matrix)}, its manifest says {shape[0]} x {shape[1]}: "
            "extract again"
        )
    if str(matrix.dtype) != manifest.get("dtype") or ids.shape != shape[:1] or present.shape != shape[:1]:
        raise FeatureError(f"the files of {path} do not belong together: extract the features again")
    if (
        ids.dtype.kind != "U"
        or content_hash(ids) != order
        or present.dtype != np.bool_
        or present.sum() != count
    ):
        raise FeatureError(
            f"the item ids or the mask of {path} are not those of its manifest: extract the features again"
        )
    return FeatureStore(modality, ids, matrix, present, path, manifest)


def _open_matrix(path: Path) -> FeatureStore:
    """A matrix of MMRec's layout: row n is item "n", a row of zeros is a missing one."""
    matrix = _load(path, mapped=True)
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind != "f":
        raise FeatureError(
            f"{path} is {_size(matrix)} of {matrix.dtype}: expected a table of float numbers, items x dim"
        )
    present = np.empty(len(matrix), dtype=np.bool_)
    for start in range(0, len(matrix), _CHUNK):
        present[start : start + _CHUNK] = (matrix[start : start + _CHUNK] != 0).any(axis=1)
    ids = np.arange(len(matrix)).astype(np.str_)
    return FeatureStore(path.name.removesuffix(".npy").removesuffix("_feat"), ids, matrix, present, path)


def _load(path: Path, *, mapped: bool = False) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise FeatureError(
            f"{path.parent} is an unfinished store: it has no {path.name}; extract again"
        ) from error
    except Exception as error:  # numpy's reader raises SyntaxError, TokenError and more on broken files
        if "pickle" in str(error) or "Python objects" in str(error):
            raise FeatureError(
                f"{path} holds pickled objects, which are never loaded: save it as float numbers"
            ) from error
        reason = " ".join(str(error).split())[:120]
        raise FeatureError(f"{path} is not a whole .npy file ({reason}): make it again") from error
    if not isinstance(array, np.ndarray):
        raise FeatureError(f"{path} is an archive, expected a single array in .npy format")
    return array


def _size(array: npt.NDArray[Any]) -> str:
    return " x ".join(map(str, array.shape)) or "a single number"
