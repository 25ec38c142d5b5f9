"""How the C library hands out memory while a network trains on a CPU."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Have glibc keep large freed blocks instead of returning each to the kernel.

    A training step frees and takes hundreds of blocks of tens of megabytes. By default each comes
    zeroed from the kernel, page by page: that is 40% of a step's time. Returns whether it worked;
    other C libraries are left alone.
    """
    if not sys.platform.startswith('linux'):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
