from __future__ import annotations

import pytest
import torch

from lemore_core.inference.backend import BackendError, DeviceMemoryError
from lemore_core.inference.gpu.errors import guarded

CPU = torch.device('cpu')


@pytest.mark.parametrize(
    'message',
    [
        'CUDA out of memory. Tried to allocate 20.00 MiB.',
        'CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`',
        # what a Jetson says: github.com/pytorch/pytorch/issues/128661 and 185240
        'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/c10/cuda/CUDACachingAllocator.cpp":838',
        'NvMapMemAllocInternalTagged: 1075072515 error 12',
    ],
)
def test_every_way_to_be_out_of_memory_is_recognised(message: str) -> None:
    def work() -> None:
        raise RuntimeError(message)

    with pytest.raises(DeviceMemoryError, match='cpu has no memory left for a network'):
        guarded(work, CPU, 'a network')


def test_another_failure_is_not_for_want_of_memory() -> None:
    def work() -> None:
        msg = 'CUDA error: an illegal memory access was encountered'
        raise RuntimeError(msg)

    with pytest.raises(BackendError, match='cpu failed on a network: CUDA error') as found:
        guarded(work, CPU, 'a network')
    assert not isinstance(found.value, DeviceMemoryError)
