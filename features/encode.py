"""One encoder over a table of items: what is known stays, a killed run goes on, the rest is encoded."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from features.base import Encoder, Float32, averaged
from features.errors import FeatureError
from features.files import content_hash, recover_folder
from features.items import Items
from features.journal import Journal
from features.loading import load_all, photo_hashes, text_hashes
from features.progress import progress_bar
from features.sources import PhotoError, each
from features.store import MANIFEST, VERSION, FeatureStore, input_hashes, open_stores, up_to_date, write_store

log = logging.getLogger("features.extract")

Hashes = npt.NDArray[np.bytes_]
_BLOCK = 4096
_BATCH = 256  # of encoders that have no batch_size
_INPUTS = "inputs.npy"


def encode_store(
    items: Items,
    encoder: Encoder,
    fingerprint: dict[str, str],
    out: Path,
    *,
    dtype: str,
    strict: bool,
    workers: int,
) -> FeatureStore:
    """The store `<out>/<modality>/` of these items by this encoder; see `features.extract.extract`."""
    modality, folder = encoder.modality, out / encoder.modality
    journal_path = out / f".{modality}.journal"
    hashes = _hash_inputs(items, modality, workers)
    input_hash = content_hash(hashes.tobytes())
    key = content_hash(items.ids, input_hash, fingerprint, dtype, VERSION)
    if (store := _found(folder, key, modality, len(items), strict)) is not None:
        return store
    made_with = content_hash(fingerprint, modality, VERSION, *([input_hash] if encoder.learns else []))
    # Only who holds the journal may clear away what a killed one left: it might be at work.
    with Journal(journal_path, made_with) as journal:
        try:
            recover_folder(folder)
            if (store := _found(folder, key, modality, len(items), strict)) is not None:
                journal.remove()
                return store
            known = None if encoder.learns else _known(folder, fingerprint, dtype)
            job = _Job(items, encoder, hashes, journal, known)
            job.encode(workers, strict)
            broken = job.broken()
            if not (job.offset >= 0).any() and not (job.kept >= 0).any() and broken:
                raise FeatureError(f"{modality}: {_broken_text(broken, len(items))}: mend or remove them")

            def describe() -> dict[str, Any]:
                return {
                    "key": key,
                    "encoder": fingerprint,
                    "input_hash": input_hash,
                    "missing": int((hashes == b"").sum()),
                    **job.notes(),
                    "versions": {name: version(name) for name in ("numpy", "pillow")},
                    "broken": broken,
                }

            store = write_store(
                folder, modality, items.ids, job.blocks(), describe, dtype, extra={_INPUTS: hashes}
            )
            journal.remove()
        except BaseException:
            if not any(place >= 0 for place in journal.offset.values()):  # nothing to go on from
                journal.remove()
                if out.is_dir() and not any(out.iterdir()):
                    out.rmdir()
            raise
    log.info(
        "%s: %s of %s items encoded%s, %d numbers each, in %s",
        modality,
        f"{store.present.sum():,}",
        f"{len(items):,}",
        f" ({job.reused:,} of them kept from before)" if job.reused else "",
        store.dim,
        folder,
    )
    _report(store, broken, len(items), strict)
    return store


def _found(folder: Path, key: str, modality: str, count: int, strict: bool) -> FeatureStore | None:
    store = up_to_date(folder, key)
    if store is not None:
        log.info("%s: %s is up to date, nothing to do", modality, folder)
        _report(store, store.manifest["broken"], count, strict)
    return store


@dataclass
class _Job:
    """What is to be encoded, what is known, and where each item's vector is."""

    items: Items
    encoder: Encoder
    hashes: Hashes
    journal: Journal
    known: FeatureStore | None
    kept: npt.NDArray[np.intp] = field(init=False)
    offset: npt.NDArray[np.int64] = field(init=False)
    reused: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.kept = _rows_in(self.known, self.hashes)
        wanted = np.flatnonzero((self.hashes != b"") & (self.kept < 0))
        # Items with the same photo or text share one row. The order, and so what is in which batch, depends
        # on the table and the store alone, not on where a run was killed: its numbers come out the same.
        _, first = np.unique(self.hashes[wanted], return_index=True)
        self.wanted = wanted[np.sort(first)]
        done = [bytes(digest) in self.journal.offset for digest in _padded(self.hashes[self.wanted])]
        self.reused = int((self.kept >= 0).sum()) + sum(done)
        self.todo = self.wanted[~np.array(done, dtype=bool)]

    def encode(self, workers: int, strict: bool) -> None:
        """Encode what is to be, batch by batch, into the journal."""
        inputs = self.items.photos if self.encoder.modality == "image" else self.items.texts
        inputs = inputs or []
        size = max(1, int(getattr(self.encoder, "batch_size", _BATCH)))
        texts = [] if self.encoder.modality == "image" else [text for text in inputs if text is not None]
        if len(self.todo):
            self.encoder.fit(texts)
        missing = set(self.todo.tolist())
        batches = [self.wanted[start : start + size].tolist() for start in range(0, len(self.wanted), size)]
        batches = [[row for row in batch if row in missing] for batch in batches]
        # Beside a model on the processor, threads that read photos make its own wait for each other, at three
        # times what they take (experiments/extraction). There a batch is read first; a GPU is fed meanwhile.
        together = [batches] if not self.encoder.on_cpu else [[batch] for batch in batches]
        title = f"Encoding {'photos' if self.encoder.modality == 'image' else 'texts'}"
        with progress_bar(title, len(self.wanted), done=len(self.wanted) - len(self.todo)) as advance:
            for group in together:
                rows = [row for batch in group for row in batch]
                stream = self._prepared(rows, inputs, workers, 2 * size)
                for batch in filter(None, group):
                    self._encode_batch(batch, stream, strict)
                    advance(len(batch))
        self.offset = np.array(
            [self.journal.offset.get(bytes(digest), -1) for digest in _padded(self.hashes)], dtype=np.int64
        )
        self.offset[(self.kept >= 0) | (self.hashes == b"")] = -1

    def _prepared(
        self, rows: Sequence[int], inputs: Sequence[Any], workers: int, ahead: int
    ) -> Iterator[list[Any]]:
        """For each row what the encoder batches: one text, or some photos, or the reasons why not."""
        if self.encoder.modality != "image":
            yield from ([inputs[row]] for row in rows)
            return
        photos = [photo for row in rows for photo in each(inputs[row])]
        loaded = load_all(photos, self.encoder.prepare, workers, ahead + workers)
        for row in rows:
            yield [next(loaded) for _ in each(inputs[row])]

    def _encode_batch(self, rows: list[int], stream: Iterator[list[Any]], strict: bool) -> None:
        good: list[int] = []
        bad: list[int] = []
        flat: list[Any] = []
        counts: list[int] = []
        reasons: dict[str, list[list[str]]] = {}
        for row in rows:
            values = next(stream)
            usable = [value for value in values if not isinstance(value, PhotoError)]
            if len(usable) < len(values):
                names = [self._label(photo) for photo in each((self.items.photos or [])[row])]
                reasons[_hex(self.hashes[row])] = [
                    [name, str(value)]
                    for name, value in zip(names, values, strict=True)
                    if isinstance(value, PhotoError)
                ]
                if strict:
                    name, reason = reasons[_hex(self.hashes[row])][0]
                    found = [{"item": str(self.items.ids[row]), "input": name, "reason": reason}]
                    text = _broken_text(found, len(self.items))
                    raise FeatureError(
                        f"{self.encoder.modality}: {text}: mend or remove it, or leave out strict"
                    )
            if usable:
                good.append(row)
                flat.extend(usable)
                counts.append(len(usable))
            else:
                bad.append(row)
        before = self.encoder.notes()
        vectors = np.empty((0, self.journal.dim), dtype=np.float32)
        if flat:
            vectors = averaged(_call(self.encoder, flat), counts, self.encoder.normalised)
            _check_finite(vectors, self.items, good, type(self.encoder).__name__)
        counted = {name: count - before.get(name, 0) for name, count in self.encoder.notes().items()}
        digests = [bytes(digest) for digest in _padded(self.hashes[[*good, *bad]])]
        self.journal.add(digests, vectors, {"broken": reasons, "notes": counted})

    def _label(self, photo: Any) -> str:
        if not isinstance(photo, Path):
            return str(photo)
        parent = self.items.path.parent
        return str(photo.relative_to(parent)) if photo.is_relative_to(parent) else str(photo)

    def broken(self) -> list[dict[str, str]]:
        """Every photo that could not be used, with its item and the reason, in the items' order."""
        reasons: dict[str, list[list[str]]] = {}
        for notes in self.journal.notes:
            reasons |= notes.get("broken", {})
        if not reasons:
            return []
        rows = np.flatnonzero(np.isin(self.hashes, [bytes.fromhex(digest) for digest in reasons]))
        return [
            {"item": str(self.items.ids[row]), "input": name, "reason": reason}
            for row in rows
            for name, reason in reasons[_hex(self.hashes[row])]
        ]

    def notes(self) -> dict[str, Any]:
        """The encoder's counts, those of kept rows included."""
        total: dict[str, int] = {}
        parts = [notes.get("notes", {}) for notes in self.journal.notes]
        if self.known is not None and (self.kept >= 0).any():
            parts.append(self.known.manifest.get("notes", {}))
        for part in parts:
            for name, count in part.items():
                total[name] = total.get(name, 0) + int(count)
        return {**total, "notes": total}

    def blocks(self) -> Iterator[tuple[npt.NDArray[np.intp], Float32]]:
        """Row numbers and vectors of all items that have one."""
        for start in range(0, len(self.items), _BLOCK):
            kept, offset = self.kept[start : start + _BLOCK], self.offset[start : start + _BLOCK]
            old, new = np.flatnonzero(kept >= 0), np.flatnonzero(offset >= 0)
            dim = self.known.dim if self.known is not None else self.journal.dim
            if len(new) and self.journal.dim != dim:
                raise FeatureError(f"the encoder gave rows of {self.journal.dim} numbers, before {dim}")
            vectors = np.empty((len(kept), dim), dtype=np.float32)
            if len(old) and self.known is not None:
                vectors[old] = self.known.matrix[kept[old]]
            if len(new):
                vectors[new] = self.journal.rows(offset[new])
            rows = np.union1d(old, new)
            if len(rows):
                yield rows + start, vectors[rows]


def _hash_inputs(items: Items, modality: str, workers: int) -> Hashes:
    """A hash of each item's photos or text; empty where it has none."""
    if modality == "text":
        return text_hashes(items.texts or [])

    def show(hashes: Iterable[bytes], total: int) -> Iterator[bytes]:
        with progress_bar("Checking photos", total) as advance:
            for value in hashes:
                yield value
                advance(1)

    return photo_hashes(items.photos or [], workers, show)


def _known(folder: Path, fingerprint: dict[str, str], dtype: str) -> FeatureStore | None:
    """The store that is there, if its rows are by the same encoder and say what they were made of."""
    try:
        (store,) = open_stores(folder).values()
    except (FeatureError, ValueError):
        return None
    same = store.manifest.get("encoder") == fingerprint and store.manifest.get("dtype") == dtype
    return store if same and input_hashes(store) is not None else None


def _rows_in(known: FeatureStore | None, hashes: Hashes) -> npt.NDArray[np.intp]:
    """For each hash the row of the known store that has it, -1 where none has."""
    rows = np.full(len(hashes), -1, dtype=np.intp)
    if known is None:
        return rows
    old = input_hashes(known)
    assert old is not None
    usable = np.flatnonzero(known.present)
    if len(usable) == 0:
        return rows
    order = usable[np.argsort(old[usable], kind="stable")]
    at = np.minimum(np.searchsorted(old[order], hashes), len(order) - 1)
    found = (old[order[at]] == hashes) & (hashes != b"")
    rows[found] = order[at[found]]
    return rows


def _call(encoder: Encoder, batch: list[Any]) -> Float32:
    vectors = encoder.encode(batch)
    is_array = isinstance(vectors, np.ndarray)
    if (
        not is_array
        or vectors.dtype != np.float32
        or vectors.ndim != 2
        or len(vectors) != len(batch)
        or not vectors.shape[1]
    ):
        found = f"{vectors.dtype} {vectors.shape}" if is_array else type(vectors).__name__
        raise FeatureError(
            f"{type(encoder).__name__}.encode gave {found} for {len(batch)} inputs: "
            f"expected float32 [{len(batch)}, dim]"
        )
    return vectors


def _check_finite(vectors: Float32, items: Items, rows: Sequence[int], name: str) -> None:
    """Before they are kept: what is in the journal is not computed again."""
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise FeatureError(
            f"{name} gave numbers that are not finite for item '{items.ids[rows[bad[0]]]}': "
            "features must be finite"
        )


def _report(store: FeatureStore, broken: list[dict[str, str]], total: int, strict: bool) -> None:
    if not broken:
        return
    text = f"{store.modality}: {_broken_text(broken, total)}"
    if strict:
        raise FeatureError(f"{text}: mend or remove them, or leave out strict")
    log.warning("%s; left out, all are listed in %s", text, store.path / MANIFEST)


def _broken_text(broken: list[dict[str, str]], total: int) -> str:
    first = broken[0]
    example = f"item '{first['item']}' ({first['input']}: {first['reason']})"
    count = len({one["item"] for one in broken})
    return f"photos of {count:,} of {total:,} items are broken, for example of {example}"


def _padded(hashes: Hashes) -> npt.NDArray[np.void]:
    """The hashes with the zeros at their ends, which numpy's strings drop."""
    return np.ascontiguousarray(hashes).view("V16")


def _hex(digest: np.bytes_) -> str:
    return bytes(digest).ljust(16, b"\0").hex()
