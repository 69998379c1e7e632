"""Photos read by a pool of threads, a bounded number ahead of the encoder; texts in the same shape."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from features.errors import MMRecError
from features.files import content_hash, file_hash
from features.photos import MAX_BYTES, PhotoError, load_photo

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
    photos: Sequence[Path], prepare: Callable[[Any], Any], workers: int, ahead: int
) -> Iterator[Any]:
    """Each photo as the encoder wants it, or the PhotoError that says why there is none."""

    def load(path: Path) -> Any:
        try:
            return prepare(load_photo(path))
        except PhotoError as error:
            return error

    return in_threads(load, photos, workers, ahead)


def hash_photos(
    photos: Sequence[Path | None], workers: int, show: Callable[[Iterable[str], int], Iterable[str]]
) -> str:
    """Hash of all photos' bytes, in order; a missing or unreadable one counts as that.

    Args:
        photos: one path or None per item.
        workers: threads.
        show: goes through the hashes behind a progress bar.
    """

    def one(path: Path | None) -> str:
        if path is None:
            return "none"
        try:
            size = path.stat().st_size
            return file_hash(path) if size <= MAX_BYTES else f"{size} bytes"
        except (OSError, MMRecError):
            return "unreadable"

    return content_hash(list(show(in_threads(one, photos, workers, 64 * workers), len(photos))))


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar with items per second; gives a function that moves it on by n."""
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console()) as progress:
        task = progress.add_task(title, total=total)
        yield lambda count: progress.advance(task, count)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        # a single step has no speed of its own: its average then
        average = task.completed / task.elapsed if task.elapsed else None
        speed = task.finished_speed or task.speed or average
        return Text(f"{speed:,.0f} items/s" if speed else "", style="progress.data.speed")
