"""A first reading of a parquet file in a process of its own.

A few damaged bytes can make a parquet reader ask for more memory than there is, which ends the process, or
print its inner state to the terminal. Neither can be caught from inside; another process can be watched.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_READ = """
import sys
import polars as pl
try:
    lazy = pl.scan_parquet(sys.argv[1], glob=False)
    names = lazy.collect_schema().names()
    if sys.argv[2:] == ["all"]:
        lazy.collect()
    elif len(sys.argv) > 2:
        lazy.select(names[int(at)] for at in sys.argv[2:]).collect()
except BaseException as error:
    print(" ".join(str(error).split())[:500])
    sys.exit(3)
"""


def parquet_damage(path: Path, positions: Sequence[int] | None = ()) -> str | None:
    """What is wrong with a parquet file, in a few words, or None where it can be read.

    Args:
        path: the file.
        positions: positions of the columns to read; none reads the schema alone, and None all columns.
    """
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(-min(4, path.stat().st_size), os.SEEK_END)
        marks = {start, file.read(4)}
    if marks != {b"PAR1"}:
        return "a parquet file starts and ends with PAR1, this one does not"
    command = [sys.executable, "-P", "-c", _READ, str(path.absolute())]
    command += ["all"] if positions is None else map(str, positions)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode == 0:
        return None
    words = done.stdout.decode("utf-8", "replace").strip()
    return words or "reading it ended the reading process: damaged, or larger than the memory"
