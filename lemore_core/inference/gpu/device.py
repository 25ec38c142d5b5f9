"""The NVIDIA GPU that a device name means."""

from __future__ import annotations

import ctypes
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from lemore_core.inference.backend import AUTO, BackendError
from lemore_core.inference.registry import how_to_install
from lemore_core.inference.tensorrt.libraries import ComputeCapability

_KERNEL_MODULE = Path('/proc/driver/nvidia/version')


@dataclass(frozen=True)
class Gpu:
    """A GPU as engines care about it."""

    index: int
    name: str
    capability: ComputeCapability
    driver: str

    @property
    def device(self) -> str:
        """Its name to torch."""
        return f'cuda:{self.index}'


def find_gpu(device: str) -> Gpu:
    """Return the GPU called ``auto``, ``cuda`` or ``cuda:N``.

    Raises:
        BackendError: it is another kind of device, there is no GPU, or torch cannot use it.
    """
    match = re.fullmatch(rf'(?:{AUTO}|cuda(?::(\d+))?)', device)
    if match is None:
        msg = f'TensorRT runs on NVIDIA GPUs, not on device {device!r}: use auto, cuda or cuda:N'
        raise BackendError(msg)
    if torch.version.cuda is None:
        msg = (
            f'TensorRT needs a torch with CUDA for its buffers, {torch.__version__} has none: '
            f'{how_to_install("torch")}, for your CUDA version (https://pytorch.org)'
        )
        raise BackendError(msg)
    if not torch.cuda.is_available():
        msg = (
            'TensorRT needs an NVIDIA GPU and its driver, torch finds none: '
            'see what nvidia-smi says, or use another backend'
        )
        raise BackendError(msg)
    index, count = int(match[1] or 0), torch.cuda.device_count()
    if index >= count:
        msg = f'there is no device {device!r}, the GPUs here are cuda:0 to cuda:{count - 1}'
        raise BackendError(msg)
    properties = torch.cuda.get_device_properties(index)
    capability = ComputeCapability(properties.major, properties.minor)
    # GPUs of one name may differ in this, and an engine's kernels are chosen by it
    name = f'{properties.name} ({properties.multi_processor_count} SMs)'
    return Gpu(index, name, capability, driver_version())


def driver_version() -> str:
    """Return the version of the NVIDIA driver, or of its CUDA where it does not say, or ''."""
    with suppress(OSError):
        match = re.search(r'\b\d{3,}\.\d+(\.\d+)?\b', _KERNEL_MODULE.read_text(encoding='utf-8'))
        if match:
            return match[0]
    with suppress(OSError):
        number = ctypes.c_int()
        if ctypes.CDLL('libcuda.so.1').cuDriverGetVersion(ctypes.byref(number)) == 0:
            return f'CUDA {number.value}'
    return ''
