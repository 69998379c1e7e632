"""Where the memory of short-lived tensors comes from on a CPU."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's malloc.h
_KEEP, _LARGE = 2**31 - 1, 2**27


@cache
def keep_freed_memory() -> None:
    """Ask glibc to keep freed blocks of up to 128 MiB, instead of handing them back to the system at once.

    A training step makes and frees the same few matrices. By default each comes from the system anew, which
    fills it with zeros, page by page: that took more time than the arithmetic, above all on virtual machines.
    Elsewhere than on Linux with glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return
    mallopt(_MMAP_THRESHOLD, _LARGE)
    mallopt(_TRIM_THRESHOLD, _KEEP)
