"""What NVIDIA's driver says, asked without PyTorch, whose import takes seconds and memory."""

from __future__ import annotations

import ctypes
from functools import cache

LIBRARY = 'libcuda.so.1'


@cache
def gpu_count() -> int:
    """Return the number of GPUs that CUDA can use here, zero where there is no driver."""
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return 0
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
