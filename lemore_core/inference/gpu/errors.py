"""Map CUDA errors to backend errors, and free device memory after them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from lemore_core.common.errors import GpuContextLostError
from lemore_core.inference.backend import BackendError, DeviceMemoryError

# CUDA, TensorRT, cuBLAS and cuDNN; then a Jetson's (pytorch/pytorch issues 128661 and 185240)
OUT_OF_MEMORY = (
    'out of memory',
    'outofmemory',
    'alloc_failed',
    'allocation_failed',
    "can't allocate memory",
    'nvml_success == r internal assert failed',
    'nvmapmemalloc',
)
# Errors whose tracebacks hold tensors of a lost GPU: freeing pinned memory would abort the process
# before the reason is logged.
_kept: list[BaseException] = []

T = TypeVar('T')


def guarded(
    work: Callable[[], T],
    device: torch.device,
    what: str,
    recover: Callable[[], None] = lambda: None,
) -> T:
    """Do ``work``, named ``what`` in errors; if it fails, ``recover``, free memory and raise."""
    try:
        with torch.inference_mode():
            return work()
    except GpuContextLostError as error:
        _kept.append(error)
        raise
    except (BackendError, RuntimeError) as error:
        try:
            # while the error still holds its tensors: a lost GPU fails here and must free nothing
            if _is_started(device):
                torch.cuda.current_stream(device).synchronize()
        except RuntimeError:
            raise _lost(error, device, what) from error
        failure = _explain(error, device, what)
    # not above, where the traceback still holds tensors of the device
    try:
        recover()
        free_unused(device)
    except RuntimeError as error:
        raise _lost(error, device, what) from error
    raise failure


def is_out_of_memory(error: BaseException | str) -> bool:
    """Return whether an error, or a log message, reports a full device."""
    is_named = any(phrase in str(error).lower() for phrase in OUT_OF_MEMORY)
    return is_named or isinstance(error, torch.cuda.OutOfMemoryError)


def free_unused(device: torch.device) -> None:
    """Return the memory that PyTorch caches on a device."""
    gc.collect()
    if _is_started(device):
        with torch.cuda.device(device):
            torch.cuda.empty_cache()


def first_line(error: BaseException) -> str:
    """Return an error's message, without the statistics and advice that PyTorch adds."""
    return str(error).partition('\n')[0].partition(' Of the allocated memory')[0]


def _is_started(device: torch.device) -> bool:
    return device.type == 'cuda' and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]


def _lost(error: Exception, device: torch.device, what: str) -> GpuContextLostError:
    lost = GpuContextLostError(f'GPU context lost: {device} failed on {what}: {first_line(error)}')
    _kept.extend((error, lost))
    return lost


def _explain(error: Exception, device: torch.device, what: str) -> BackendError:
    if isinstance(error, BackendError):
        return error.with_traceback(None)
    reason = first_line(error)
    if not is_out_of_memory(error):
        return BackendError(f'{device} failed on {what}: {reason}')
    msg = (
        f'{device} has no memory left for {what} ({reason}): use a smaller batch or model, '
        'or end what else uses the device'
    )
    return DeviceMemoryError(msg)
