"""Photos read by a pool of threads, a bounded number ahead of the encoder; texts in the same shape."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from features.photos import load_photo
from features.sources import Photo, PhotoError, Photos, each, read_photo

Hashes = npt.NDArray[np.bytes_]

In = TypeVar("In")
Out = TypeVar("Out")


def pool_size(workers: int | None) -> int:
    """Threads to read photos with: as asked, or one per core and at most 8."""
    return workers if workers else min(8, os.cpu_count() or 1)


def in_threads(work: Callable[[In], Out], inputs: Iterable[In], workers: int, ahead: int) -> Iterator[Out]:
    """`map` in threads, in order, with at most `ahead` results waiting, so that memory stays bounded.

    Args:
        work: called for each input; PIL, hashing and torch let other threads run meanwhile.
        inputs: anything; taken only as needed.
        workers: threads.
        ahead: inputs under way or waiting to be taken.

    Yields:
        One result per input, in the inputs' order.
    """
    waiting: deque[Future[Out]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="photos")
    try:
        for item in inputs:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= max(ahead, 1):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # also when the one who asks stops asking
        pool.shutdown(wait=True, cancel_futures=True)


def load_all(
    photos: Iterable[Photo], prepare: Callable[[Any], Any], workers: int, ahead: int
) -> Iterator[Any]:
    """Each photo as the encoder wants it, or the PhotoError that says why there is none."""

    def load(path: Photo) -> Any:
        try:
            return prepare(load_photo(path))
        except PhotoError as error:
            return error

    return in_threads(load, photos, workers, ahead)


def photo_hashes(
    photos: Sequence[Photos], workers: int, show: Callable[[Iterable[bytes], int], Iterable[bytes]]
) -> Hashes:
    """A hash of the bytes of each item's photos, in order; photos on the web are fetched for it.

    Args:
        photos: per item.
        workers: threads.
        show: goes through the hashes behind a progress bar.

    Returns:
        16 bytes each [I], empty where an item has none; a photo that cannot be read counts by its name.
    """

    def one(entry: Photos) -> bytes:
        parts = each(entry)
        if not parts:
            return b""
        digest = hashlib.blake2b(digest_size=16)
        for photo in parts:
            try:
                digest.update(hashlib.blake2b(read_photo(photo), digest_size=16).digest())
            except PhotoError as error:
                digest.update(f"unreadable {photo} {error}".encode())
        return digest.digest()

    return np.array(list(show(in_threads(one, photos, workers, 64 * workers), len(photos))), dtype="S16")


def text_hashes(texts: Sequence[str | None]) -> Hashes:
    """A hash of each text, 16 bytes [I]; empty where there is none."""
    return np.array(
        [
            b"" if text is None else hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest()
            for text in texts
        ],
        dtype="S16",
    )
