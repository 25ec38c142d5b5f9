"""What devices fail with, in the words of a backend, and memory given back."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from lemore_core.inference.backend import BackendError, DeviceMemoryError

# In the words of CUDA, cuBLAS and TensorRT; of PyTorch's allocator on a Jetson, where it cannot
# ask NVML how much is left (pytorch/pytorch issues 128661 and 185240); and of Jetson's own.
OUT_OF_MEMORY = (
    'out of memory',
    'outofmemory',
    'alloc_failed',
    "can't allocate memory",
    'nvml_success == r internal assert failed',
    'nvmapmemalloc',
)

T = TypeVar('T')


def guarded(
    work: Callable[[], T],
    device: torch.device,
    what: str,
    recover: Callable[[], None] = lambda: None,
) -> T:
    """Do ``work`` without gradients; if it fails, ``recover`` and free what the device held.

    ``what`` says of the work what an error message needs.

    Raises:
        DeviceMemoryError: there was no room for it.
        BackendError: it failed otherwise.

    """
    try:
        with torch.inference_mode():
            return work()
    except BackendError as error:
        failure = error.with_traceback(None)
    except RuntimeError as error:
        failure = _explain(error, device, what)
    # here and not above, where the traceback still holds what was on the device
    recover()
    free_unused(device)
    raise failure


def is_out_of_memory(error: BaseException | str) -> bool:
    """Say whether an error, or a log message, is about a device that had no room."""
    text = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(
        phrase in text for phrase in OUT_OF_MEMORY
    )


def free_unused(device: torch.device) -> None:
    """Give back what PyTorch keeps on a device for later."""
    gc.collect()
    if device.type == 'cuda':
        with torch.cuda.device(device):
            torch.cuda.empty_cache()


def _explain(error: RuntimeError, device: torch.device, what: str) -> BackendError:
    reason = str(error).partition('\n')[0]
    if is_out_of_memory(error):
        msg = (
            f'{device} has no memory left for {what} ({reason}): use a smaller batch or model, '
            'or end what else uses the device'
        )
        return DeviceMemoryError(msg)
    return BackendError(f'{device} failed on {what}: {reason}')
