from __future__ import annotations

import gc
import weakref
from contextlib import suppress

import pytest
import torch

from lemore_core.common.errors import GpuContextLostError
from lemore_core.inference.backend import BackendError, DeviceMemoryError
from lemore_core.inference.gpu import errors
from lemore_core.inference.gpu.errors import CONTEXT_LOST, guarded

CPU = torch.device('cpu')


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, '_kept', [])


def fail(error: Exception) -> None:
    raise error


def never() -> None:
    pytest.fail('nothing may be freed on a lost GPU')


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
    with pytest.raises(DeviceMemoryError, match='cpu has no memory left for a network'):
        guarded(lambda: fail(RuntimeError(message)), CPU, 'a network')


def test_another_failure_costs_what_was_on_the_device() -> None:
    recovered = []
    with pytest.raises(BackendError, match='cpu failed on a network: CUDA error') as found:
        guarded(
            lambda: fail(RuntimeError('CUDA error: invalid argument\nCompile with')),
            CPU,
            'a network',
            lambda: recovered.append(True),
        )
    assert type(found.value) is BackendError
    assert recovered == [True]


@pytest.mark.parametrize('words', CONTEXT_LOST.values())
def test_an_error_that_stays_is_recognised_by_its_words(words: str) -> None:
    for error in (
        RuntimeError(f'CUDA error: {words}\nCUDA kernel errors might be asynchronously reported'),
        BackendError(f'TensorRT cannot run the engine: Cuda Runtime ({words})'),
    ):
        with pytest.raises(GpuContextLostError, match=r'^GPU context lost: cpu failed on'):
            guarded(lambda error=error: fail(error), CPU, 'a network', never)


def test_an_error_that_stays_is_recognised_by_its_number() -> None:
    kind = getattr(torch, 'AcceleratorError', RuntimeError)
    error = kind('CUDA error: in the words of another version')
    error.error_code = 700
    with pytest.raises(GpuContextLostError):
        guarded(lambda: fail(error), CPU, 'a network', never)


def test_clean_up_that_fails_as_well_means_a_lost_context() -> None:
    def recover() -> None:
        msg = 'CUDA error: unknown error'
        raise RuntimeError(msg)

    with pytest.raises(GpuContextLostError, match='unknown error'):
        guarded(lambda: fail(RuntimeError('cuDNN error')), CPU, 'a network', recover)


def test_what_is_on_a_lost_gpu_is_never_freed() -> None:
    freed = []

    class Pinned:
        pass

    def work() -> None:
        here = Pinned()
        weakref.finalize(here, freed.append, True)
        msg = 'CUDA error: unspecified launch failure'
        raise RuntimeError(msg)

    with suppress(GpuContextLostError):
        guarded(work, CPU, 'a network', never)
    gc.collect()
    assert not freed, 'the destructor of pinned memory aborts the process'
