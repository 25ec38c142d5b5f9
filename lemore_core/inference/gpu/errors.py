"""What devices fail with, in the words of a backend, and memory returned after it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from lemore_core.common.errors import GpuContextLostError
from lemore_core.inference.backend import BackendError, DeviceMemoryError
from lemore_core.inference.gpu.exclusive import gpu_lock

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
# Errors of cudaError_t after which, says its documentation, "the process must be terminated and
# relaunched", with the words of cudaGetErrorString for libraries that pass on no number.
CONTEXT_LOST = {
    214: 'uncorrectable ecc error',
    220: 'uncorrectable nvlink error',
    700: 'an illegal memory access was encountered',
    702: 'the launch timed out and was terminated',
    709: 'context is destroyed',
    710: 'device-side assert triggered',
    714: 'hardware stack error',
    715: 'an illegal instruction was encountered',
    716: 'misaligned address',
    717: 'operation not supported on global/shared address space',
    718: 'invalid program counter',
    719: 'unspecified launch failure',
}
# Their tracebacks hold what is on a lost GPU. Freed, pinned memory records an event, which throws
# in a destructor that must not: the process would abort before anybody says why.
_kept: list[BaseException] = []

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
        GpuContextLostError: the GPU is of no use to this process any more; nothing was freed.
        DeviceMemoryError: there was no room for it.
        BackendError: it failed otherwise.
    """
    try:
        with torch.inference_mode():
            return work()
    except GpuContextLostError as error:
        _kept.append(error)
        raise
    except (BackendError, RuntimeError) as error:
        if is_context_lost(error):
            raise _lost(error, device, what) from error
        failure = _explain(error, device, what)
    # here and not above, where the traceback still holds what was on the device
    try:
        recover()
        free_unused(device)
    except RuntimeError as error:
        # clean-up fails where every call does
        raise _lost(error, device, what) from error
    raise failure


def is_out_of_memory(error: BaseException | str) -> bool:
    """Say whether an error, or a log message, is about a device that had no room."""
    text = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(
        phrase in text for phrase in OUT_OF_MEMORY
    )


def is_context_lost(error: BaseException) -> bool:
    """Say whether an error leaves the GPU of no use to this process."""
    text = str(error).lower()
    # of torch.AcceleratorError, which torch has from 2.8 on
    code = getattr(error, 'error_code', None)
    return code in CONTEXT_LOST or any(phrase in text for phrase in CONTEXT_LOST.values())


def free_unused(device: torch.device) -> None:
    """Return the memory that PyTorch keeps on a device for later."""
    gc.collect()
    # without a driver CUDA never began, and asking it would fail once more
    if device.type == 'cuda' and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        with gpu_lock, torch.cuda.device(device):
            torch.cuda.empty_cache()


def first_line(error: BaseException) -> str:
    """Return what an error says, without the advice that CUDA's go on with."""
    return str(error).partition('\n')[0]


def _lost(error: Exception, device: torch.device, what: str) -> GpuContextLostError:
    _kept.append(error)
    return GpuContextLostError(f'GPU context lost: {device} failed on {what}: {first_line(error)}')


def _explain(error: Exception, device: torch.device, what: str) -> BackendError:
    if isinstance(error, BackendError):
        return error.with_traceback(None)
    reason = first_line(error)
    if is_out_of_memory(error):
        msg = (
            f'{device} has no memory left for {what} ({reason}): use a smaller batch or model, '
            'or end what else uses the device'
        )
        return DeviceMemoryError(msg)
    return BackendError(f'{device} failed on {what}: {reason}')
