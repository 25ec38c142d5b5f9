from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lemore_core.common.errors import GpuContextLostError
from lemore_core.inference.backend import BackendError, DeviceMemoryError
from lemore_core.inference.gpu.errors import guarded

CPU, GPU = torch.device('cpu'), torch.device('cuda:0')


def fail(message: str = 'CUDA error: unknown error') -> None:
    raise RuntimeError(message)


@pytest.mark.parametrize(
    'message',
    [
        'CUDA out of memory. Tried to allocate 20.00 MiB.',
        'CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`',
        'cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED',
        # of a Jetson: github.com/pytorch/pytorch/issues/128661 and 185240
        'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/c10/cuda/CUDACachingAllocator.cpp":838',
        'NvMapMemAllocInternalTagged: 1075072515 error 12',
    ],
)
def test_every_way_to_be_out_of_memory_is_recognised(message: str) -> None:
    with pytest.raises(DeviceMemoryError, match='cpu has no memory left for a network') as caught:
        guarded(lambda: fail(message), CPU, 'a network')
    assert caught.value.__context__ is None, 'it would hold tensors of the device'


def test_another_failure_costs_what_was_on_the_device() -> None:
    recovered = []
    with pytest.raises(BackendError, match=r'cpu failed on a network: CUDA error: odd$') as found:
        guarded(
            lambda: fail('CUDA error: odd\nCompile with'),
            CPU,
            'a network',
            lambda: recovered.append(True),
        )
    assert type(found.value) is BackendError
    assert recovered == [True]


@pytest.mark.parametrize('message', ['CUDA error: unknown error', 'cuDNN error: EXECUTION_FAILED'])
def test_a_lost_context_is_recognised_by_the_next_call(
    monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    # every call on the GPU fails, as after an illegal memory access
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda _: SimpleNamespace(synchronize=fail))
    freed: list[bool] = []
    with pytest.raises(GpuContextLostError, match=r'^GPU context lost: cuda:0 failed on'):
        guarded(lambda: fail(message), GPU, 'a network', lambda: freed.append(True))
    assert not freed


def test_clean_up_that_fails_as_well_means_a_lost_context() -> None:
    with pytest.raises(GpuContextLostError, match='unknown error'):
        guarded(lambda: fail('cuDNN error'), CPU, 'a network', fail)
