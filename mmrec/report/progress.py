"""Progress bars, all made in one place so that they look alike."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

Item = TypeVar("Item")

console = (
    Console()
)  # everything a person reads on screen goes through this one, so that bars and lines do not mix


def bar(*, remaining: bool = True) -> Progress:
    """A progress display: name, bar, count, time gone and left, and what a task says (`fields['note']`).

    Args:
        remaining: show the time left; leave it out where an early stop makes it a guess.
    """
    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=14),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *([TimeRemainingColumn()] if remaining else []),
        TextColumn("{task.fields[note]}"),
    ]
    return Progress(*columns, console=console)


class _Lines(logging.Handler):
    """Shows records on the console and keeps them as text in a file; a record may carry a rich table."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.file = Console(file=path.open("w", encoding="utf-8"), width=160)

    def emit(self, record: logging.LogRecord) -> None:
        table = record.args[0] if isinstance(record.args, tuple) and record.args else None
        shown = table if isinstance(table, Table) else record.getMessage()
        console.print(shown, highlight=False, soft_wrap=not isinstance(table, Table), markup=False)
        self.file.print(shown, highlight=False, soft_wrap=not isinstance(table, Table), markup=False)

    def close(self) -> None:
        self.file.file.close()
        super().close()


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Show what the loggers `mmrec` and `features` say, and keep it in the file `path`."""
    handler = _Lines(path)
    loggers = [logging.getLogger(name) for name in ("mmrec", "features")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
        handler.close()


def track(items: Iterable[Item], title: str, total: int | None = None) -> Iterator[Item]:
    """Go through `items` behind a bar called `title`; `total` says how many they are where they cannot.

    Without a title there is no bar, for what is part of a step.
    """
    if not title:
        yield from items
        return
    with bar() as progress:
        task = progress.add_task(title, total=len(items) if isinstance(items, Sized) else total, note="")
        for item in items:
            yield item
            progress.advance(task)
