"""The progress bar of long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


@contextmanager
def progress_bar(title: str, total: int, *, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A progress bar with items per second and the time left; gives a function that moves it on by n."""
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console()) as progress:
        task = progress.add_task(title, total=total, completed=done)
        yield lambda count: progress.advance(task, count)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        # a single step has no speed of its own: its average then
        average = task.completed / task.elapsed if task.elapsed else None
        speed = task.finished_speed or task.speed or average
        return Text(f"{speed:,.0f} items/s" if speed else "", style="progress.data.speed")
