"""The NVIDIA GPU that a device name means, and whether PyTorch has kernels for it."""

from __future__ import annotations

import ctypes
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from lemore_core.inference.backend import AUTO, BackendError
from lemore_core.inference.needs import CUDA_DRIVER, how_to_install

_KERNEL_MODULE = Path('/proc/driver/nvidia/version')


@dataclass(frozen=True)
class Gpu:
    """A GPU as engines depend on it; ``device`` is its name in PyTorch."""

    device: str
    name: str
    capability: str
    driver: str


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
    capability = f'{properties.major}.{properties.minor}'
    # GPUs of one name may differ in this, and an engine's kernels are chosen by it
    name = f'{properties.name} ({properties.multi_processor_count} SMs)'
    return Gpu(f'cuda:{index}', name, capability, _driver_version())


def kernels_for(device: torch.device) -> str:
    """Say that this PyTorch has no kernels for a GPU; empty if it has, or does not tell.

    Binary kernels run on later GPUs of their generation, intermediate code on any later GPU.
    """
    major, minor = torch.cuda.get_device_capability(device)
    names = torch.cuda.get_arch_list()
    for name in names:
        kind, _, digits = name.partition('_')
        number = re.match(r'\d+', digits)
        built = divmod(int(number[0]), 10) if number else (0, 0)
        if built <= (major, minor) and (kind == 'compute' or built[0] == major):
            return ''
    known = ', '.join(names)
    return f'it has kernels for {known}, not for sm_{major}{minor}' if names else ''


def _driver_version() -> str:
    """Return the version of the NVIDIA driver, or of its CUDA where it does not say, or ''."""
    with suppress(OSError):
        match = re.search(r'\b\d{3,}\.\d+(\.\d+)?\b', _KERNEL_MODULE.read_text(encoding='utf-8'))
        if match:
            return match[0]
    with suppress(OSError):
        number = ctypes.c_int()
        if ctypes.CDLL(CUDA_DRIVER).cuDriverGetVersion(ctypes.byref(number)) == 0:
            return f'CUDA {number.value}'
    return ''
