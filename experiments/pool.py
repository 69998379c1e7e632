"""The runs of a study, some at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TypeVar

from mmrec.report.progress import console

ROOT = Path(__file__).parents[1]
Job = TypeVar("Job")


def run_all(
    jobs: Sequence[Job],
    words: Callable[[Job], list[str]],
    *,
    needed: Callable[[Job], bool],
    keep: Callable[[Job, str], None],
    at_a_time: int = 2,
    minutes: float = float("inf"),
) -> None:
    """Run `python -m` with the words of each job that is needed; `keep` gets the last line that it prints.

    Each has a process of its own, with one thread where there are several at a time. None is started after
    so many minutes. One that failed is run once more at the end: two that start together can want one file.
    """
    until, lock = time.monotonic() + 60 * minutes, Lock()
    threads = {"OMP_NUM_THREADS": "1"} if at_a_time > 1 else {}

    def work(job: Job) -> bool:
        """Whether the job is done, or need not be."""
        with lock:
            wanted = needed(job)
        if not wanted or time.monotonic() > until:
            return True
        command = [sys.executable, "-m", *words(job)]
        console.print(" ".join(command[3:]), markup=False, highlight=False, soft_wrap=True)
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **threads}, capture_output=True, text=True
        )
        if done.returncode:
            why = f"failed: {' '.join(command[3:])}: {done.stderr[-500:]}"
            console.print(why, markup=False, highlight=False)
            return False
        with lock:
            keep(job, done.stdout.splitlines()[-1])
        return True

    with ThreadPoolExecutor(at_a_time) as pool:
        failed = [job for job, done in zip(jobs, pool.map(work, jobs), strict=True) if not done]
        list(pool.map(work, failed))
