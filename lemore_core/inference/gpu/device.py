"""Describe the NVIDIA GPUs of this machine by the driver, without PyTorch."""

from __future__ import annotations

import ctypes
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lemore_core.inference.backend import AUTO, BackendError

CUDA_DRIVER = 'libcuda.so.1'
KERNEL_MODULE = Path('/proc/driver/nvidia/version')
NAME_BYTES = 128
MULTIPROCESSORS, MAJOR, MINOR = 16, 75, 76  # of CUdevice_attribute


@dataclass(frozen=True)
class Gpu:
    """Properties of a GPU that engines depend on; ``device`` is its name in PyTorch."""

    device: str
    name: str
    capability: str
    driver: str


@cache
def gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA can use, none without a driver."""
    try:
        cuda = ctypes.CDLL(CUDA_DRIVER)
    except OSError:
        return ()
    count = ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    return tuple(_describe(cuda, index) for index in range(count.value))


def find_gpu(device: str) -> Gpu:
    """Return the GPU called ``auto``, ``cuda`` or ``cuda:N``."""
    match = re.fullmatch(rf'(?:{AUTO}|cuda(?::(\d+))?)', device)
    if match is None:
        msg = f'TensorRT runs on NVIDIA GPUs, not on device {device!r}: use auto, cuda or cuda:N'
        raise BackendError(msg)
    index, found = int(match[1] or 0), gpus()
    if index >= len(found):
        known = ', '.join(gpu.device for gpu in found) or 'none'
        msg = f'there is no device {device!r}, the GPUs here are {known}: see nvidia-smi'
        raise BackendError(msg)
    return found[index]


def _describe(cuda: Any, index: int) -> Gpu:
    device, number, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(NAME_BYTES)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, NAME_BYTES, device)
    cuda.cuDriverGetVersion(ctypes.byref(number))
    driver = f'CUDA {number.value}'
    with suppress(OSError):  # a Jetson has no such file
        driver = KERNEL_MODULE.read_text(encoding='utf-8').partition('\n')[0]
    attributes = []
    for attribute in (MULTIPROCESSORS, MAJOR, MINOR):
        cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
        attributes.append(number.value)
    count, major, minor = attributes
    # GPUs of one name may differ in the count, and an engine's kernels are chosen by it
    return Gpu(f'cuda:{index}', f'{name.value.decode()} ({count} SMs)', f'{major}.{minor}', driver)
