"""C++ of this package, compiled on first use and kept: for the few loops that no library has fast enough.

What is compiled is not linked to an OpenMP library of its own but takes the one that torch has loaded, as two
pools of threads would fight for the cores.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch  # noqa: F401  (its OpenMP is what the functions call)

from features.files import atomic_file
from mmrec.errors import MMRecError

log = logging.getLogger("mmrec")

# Fused multiply-add is what GCC does on its own; Clang needs to be told.
_FLAGS = ("-O3", "-std=c++17", "-march=native", "-ffp-contract=fast", "-fopenmp", "-fPIC")


@cache
def compiled(source: Path) -> ctypes.CDLL | None:
    """The functions of a C++ file, compiled for this processor if they were not yet.

    Returns:
        None where they cannot be had; the log says so once, with the reason.
    """
    try:
        return ctypes.CDLL(str(_library(source)))
    except (OSError, MMRecError, subprocess.SubprocessError) as error:
        reason = " ".join((getattr(error, "stderr", None) or str(error)).split())[:200]
        log.warning(
            "%s could not be compiled (%s): torch does the same, some times slower; install a C++ compiler "
            "with OpenMP, such as g++",
            source.name,
            reason,
        )
        return None


def _library(source: Path) -> Path:
    """The compiled file for this source and this processor."""
    key = hashlib.blake2b(
        repr((source.read_bytes(), _FLAGS, _processor())).encode(), digest_size=12
    ).hexdigest()
    path = _folder() / f"{source.stem}-{key}.so"
    if path.is_file():
        return path
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        raise MMRecError("no C++ compiler was found")
    with tempfile.TemporaryDirectory() as folder, atomic_file(path) as made:
        # In two steps: told of OpenMP, the linker would bring the compiler's own library along.
        unit = str(Path(folder, "unit.o"))
        for command in (
            [compiler, *_FLAGS, "-c", str(source), "-o", unit],
            [compiler, "-shared", unit, "-o", str(made)],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    log.info("compiled %s for this processor, once", source.name)
    return path


def _folder() -> Path:
    """Where this user's compiled kernels lie; only the user may write there, since they are run."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root, "mmrec")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise MMRecError(f"{folder} cannot be made ({error.strerror}); set XDG_CACHE_HOME") from error
    if not os.access(folder, os.W_OK) or folder.stat().st_uid != os.getuid():
        raise MMRecError(f"{folder} is not this user's own and writable; set XDG_CACHE_HOME")
    return folder


def _processor() -> str:
    """What a compiled kernel depends on: it would crash on a processor that lacks an instruction."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return f"{platform.machine()} {flags}"
