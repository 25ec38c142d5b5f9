"""Whether kernels in Triton run on a device."""

from __future__ import annotations

import importlib.util
import logging
from functools import lru_cache

import torch

_log = logging.getLogger(__name__)


@lru_cache
def run_on(device: torch.device) -> bool:
    """Say whether a kernel can be compiled and started there; the first time, by doing it.

    Builds for Jetson often come without Triton, and Triton without a C compiler starts nothing.
    """
    if device.type != 'cuda' or importlib.util.find_spec('triton') is None:
        return False
    try:
        from lemore_core.inference.gpu.triton_jit import add_one

        with torch.cuda.device(device):
            number = torch.zeros(1, device=device)
            add_one[1,](number)
            works = number.item() == 1
    except Exception as error:  # noqa: BLE001 - whatever fails, there is another way
        _log.info('no Triton on %s, PyTorch does the same more slowly: %s', device, error)
        return False
    return works
