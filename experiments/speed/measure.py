"""Clocks, the machine's rates, and where results go."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

from features.files import atomic_file

FOLDER = Path(__file__).parent


def header() -> dict[str, str]:
    """What a figure depends on besides the code."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": (names or [platform.processor()])[0],
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def seconds_of(call: Callable[[], object]) -> float:
    """Seconds of one call, what it started on a GPU included."""
    started = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def median_seconds(call: Callable[[], object], *, repeats: int = 5, warmup: int = 1) -> float:
    """Median seconds of a call."""
    for _ in range(warmup):
        call()
    return median(seconds_of(call) for _ in range(repeats))


def copy_bandwidth(num_bytes: int, repeats: int = 20) -> float:
    """GB/s, read and written, of a copy between two buffers of this size that were used before."""
    source = torch.ones(max(1, num_bytes // 4))
    target = torch.empty_like(source)
    seconds = median_seconds(lambda: target.copy_(source), repeats=repeats, warmup=3)
    return 2 * num_bytes / seconds / 1e9


def product_rate(m: int, k: int, n: int, repeats: int = 10) -> float:
    """GFLOP/s of the dense float32 product [m, k] x [k, n]."""
    a, b, out = torch.ones(m, k), torch.ones(k, n), torch.empty(m, n)
    return 2 * m * k * n / median_seconds(lambda: torch.mm(a, b, out=out), repeats=repeats, warmup=2) / 1e9


def peak_bytes() -> int:
    """This process's memory at its highest; `ru_maxrss` would count that of the process it came from."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def output_of(arguments: Sequence[str], threads: int, folder: Path | None = None) -> str:
    """The last line that `python ARGUMENTS` prints, run in a process of its own, in `folder` if given."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if folder is not None:  # the project is found from where it is, not from there
        environment["PYTHONPATH"] = os.pathsep.join([os.getcwd(), environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environment,
        cwd=folder,
    )
    return done.stdout.strip().splitlines()[-1]


def write_csv(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Rows with the columns of the first, and the machine's; whole or not at all."""
    machine = header()
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, [*rows[0], *machine])
        writer.writeheader()
        writer.writerows({**row, **machine} for row in rows)
