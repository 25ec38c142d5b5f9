"""Memory that the process holds, on a GPU and for a model that is gone."""

from __future__ import annotations

import ctypes
import gc
import sys


def device_memory_mb(device: str) -> float | None:
    """Return the megabytes (10^6 bytes) that PyTorch holds on a GPU, ``None`` for a CPU.

    What TensorRT and ONNX Runtime allocate for themselves does not count.
    """
    if not device.startswith('cuda') or 'torch' not in sys.modules:
        return None
    import torch

    return torch.cuda.memory_reserved(device) / 1e6


def release_memory() -> None:
    """Return what nobody holds any more to the system.

    glibc keeps freed blocks that lie below one still in use; other C libraries are left alone.
    """
    gc.collect()
    if sys.platform.startswith('linux'):
        trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
        if trim is not None:
            trim(0)
