"""How work is captured on a GPU, with a stand-in for CUDA; what it captures is tested on one.

The stand-in follows PyTorch at commit 00cbb1f84c (2.13 is alike): aten/src/ATen/cuda/CUDAGraph.cpp,
``capture_begin`` and ``capture_end``, and c10/cuda/CUDACachingAllocator.cpp, ``beginAllocateToPool``,
``endAllocateToPool`` and ``synchronize_and_free_events``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lemore_core.common.errors import GpuContextLostError
from lemore_core.inference.backend import (
    BackendError,
    DeviceMemoryError,
)
from lemore_core.inference.gpu import errors, stream
from lemore_core.inference.gpu.errors import free_unused, guarded
from lemore_core.inference.gpu.exclusive import gpu_lock
from lemore_core.inference.gpu.stream import END_ALLOCATION, WARM_UPS, DeviceStream

GPU = torch.device('cuda:0')
INVALIDATED = 'CUDA error: operation failed due to a previous error during capture'


class FakeCuda:
    """A GPU with the allocator's list of captures that are under way.

    ``invalidates``: something makes the capture invalid, as a synchronisation on any thread does.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self.invalidates = False
        self.captures_underway: list[int] = []
        self.pools = 0

    def stream(self, device: torch.device) -> SimpleNamespace:
        assert device == GPU
        return SimpleNamespace(synchronize=lambda: self.events.append('wait'))

    def pool(self) -> int:
        self.pools += 1
        return self.pools

    def graph(self) -> FakeGraph:
        return FakeGraph(self)

    def end_allocate_to_pool(self, device: int, pool: int) -> None:
        assert device == 0
        if pool not in self.captures_underway:
            msg = 'endAllocatePool: not currently recording to mempool_id'
            raise RuntimeError(msg)
        self.captures_underway.remove(pool)

    def empty_cache(self) -> None:
        if self.captures_underway:
            msg = (
                'captures_underway.empty() INTERNAL ASSERT FAILED at '
                '"/pytorch/c10/cuda/CUDACachingAllocator.cpp":3089, please report a bug to PyTorch.'
            )
            raise RuntimeError(msg)
        self.events.append('empty')


class FakeGraph:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda

    def capture_begin(self, pool: int, *, capture_error_mode: str) -> None:
        assert capture_error_mode == 'thread_local'
        if pool in self.cuda.captures_underway:
            msg = 'beginAllocateToPool: already recording to mempool_id'
            raise RuntimeError(msg)
        self.pool = pool
        self.cuda.captures_underway.append(pool)
        self.cuda.events.append('begin')

    def capture_end(self) -> None:
        if self.cuda.invalidates:
            # AT_CUDA_CHECK(cudaStreamEndCapture(...)) comes before endAllocateToPool
            raise RuntimeError(INVALIDATED)
        self.cuda.end_allocate_to_pool(0, self.pool)
        self.cuda.events.append('end')

    def replay(self) -> None:
        self.cuda.events.append('replay')


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    fake = FakeCuda()
    monkeypatch.setattr(torch.cuda, 'Stream', fake.stream)
    monkeypatch.setattr(torch.cuda, 'device', lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, 'stream', lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, 'CUDAGraph', fake.graph)
    monkeypatch.setattr(torch.cuda, 'graph_pool_handle', fake.pool)
    monkeypatch.setattr(torch.cuda, 'empty_cache', fake.empty_cache)
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: True)
    newest, oldest = END_ALLOCATION
    monkeypatch.setattr(torch._C, newest, fake.end_allocate_to_pool, raising=False)
    monkeypatch.delattr(torch._C, oldest, raising=False)
    monkeypatch.setattr(stream, '_failed', [])
    monkeypatch.setattr(errors, '_kept', [])
    yield fake
    assert not gpu_lock._is_owned()  # type: ignore[attr-defined]


def test_work_is_warmed_up_and_captured_once(cuda: FakeCuda) -> None:
    captured = DeviceStream(GPU)
    with captured.entered():
        run = captured.record(lambda: cuda.events.append('work'), 'the work')
    assert cuda.events == ['work'] * WARM_UPS + ['wait', 'begin', 'work', 'end']
    run()
    assert cuda.events[-2:] == ['end', 'replay']
    assert captured.degraded == ''


@pytest.mark.parametrize('name', END_ALLOCATION)
def test_after_a_failed_capture_the_allocator_is_whole_and_none_is_tried_again(
    cuda: FakeCuda,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    monkeypatch.delattr(torch._C, END_ALLOCATION[0])
    monkeypatch.setattr(torch._C, name, cuda.end_allocate_to_pool, raising=False)
    cuda.invalidates = True
    broken = DeviceStream(GPU)
    broken.record(lambda: cuda.events.append('work'), 'the work')()
    assert cuda.events[-1] == 'work'
    (record,) = caplog.records
    assert record.getMessage() == f'no CUDA graph of the work: {INVALIDATED}'
    free_unused(GPU)  # which asserts that no capture is under way

    cuda.invalidates = False
    DeviceStream(GPU).record(lambda: cuda.events.append('other work'), 'other work')()
    assert cuda.events[-1] == 'other work'
    assert cuda.events.count('begin') == 1
    assert DeviceStream(GPU).degraded == f'without CUDA graphs: {INVALIDATED}'


def test_an_allocator_that_stays_open_makes_the_process_unusable(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch._C, END_ALLOCATION[0])
    cuda.invalidates = True
    with pytest.raises(GpuContextLostError, match=r'error during capture.*INTERNAL ASSERT'):
        guarded(lambda: DeviceStream(GPU).record(lambda: None, 'the work'), GPU, 'a network')


@pytest.mark.parametrize('invalidates', [False, True])
def test_a_full_device_is_no_reason_to_go_on(cuda: FakeCuda, invalidates: bool) -> None:
    def work() -> None:
        if 'begin' in cuda.events:
            cuda.invalidates = invalidates
            msg = 'CUDA out of memory'
            raise torch.cuda.OutOfMemoryError(msg)

    with pytest.raises(DeviceMemoryError):
        guarded(lambda: DeviceStream(GPU).record(work, 'the work'), GPU, 'a network')
    assert not cuda.captures_underway
    assert cuda.events[-1] == 'empty'


def test_a_capture_ends_whatever_fails_in_it(cuda: FakeCuda) -> None:
    def work() -> None:
        if cuda.events.count('begin') > cuda.events.count('end'):
            msg = 'TensorRT cannot run the engine: it does not say why'
            raise BackendError(msg)
        cuda.events.append('work')

    DeviceStream(GPU).record(work, 'the work')()
    assert not cuda.captures_underway
    assert cuda.events[-2:] == ['end', 'work']
    assert DeviceStream(GPU).degraded.startswith('without CUDA graphs: TensorRT cannot run')


def test_a_context_lost_while_capturing_frees_nothing(cuda: FakeCuda) -> None:
    def work() -> None:
        if 'begin' in cuda.events:
            cuda.invalidates = True
            msg = 'CUDA error: an illegal memory access was encountered'
            raise RuntimeError(msg)

    with pytest.raises(GpuContextLostError):
        guarded(lambda: DeviceStream(GPU).record(work, 'the work'), GPU, 'a network')
    assert 'empty' not in cuda.events


def test_no_thread_loads_or_frees_while_another_captures(cuda: FakeCuda) -> None:
    capturing, go_on, freed = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        if 'begin' in cuda.events:
            capturing.set()
            assert go_on.wait(10)

    def free() -> None:
        assert capturing.wait(10)
        free_unused(GPU)
        freed.set()

    threads = [
        threading.Thread(target=lambda: DeviceStream(GPU).record(work, 'the work')),
        threading.Thread(target=free),
    ]
    for thread in threads:
        thread.start()
    assert capturing.wait(10)
    assert not gpu_lock.acquire(blocking=False)
    assert not freed.is_set()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert cuda.events[-2:] == ['end', 'empty']


def test_loading_waits_for_its_own_stream_only(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    def device_wide(*_: Any) -> None:
        pytest.fail('it breaks a capture on another thread: NVIDIA/TensorRT issue 2888')

    own = SimpleNamespace(synchronize=lambda: cuda.events.append('own stream'))
    monkeypatch.setattr(torch.cuda, 'synchronize', device_wide)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda _: own)
    loaded = DeviceStream(GPU)
    loaded.wait_for_caller()
    loaded.record(lambda: None, 'the work')
    assert cuda.events[0] == 'own stream'


def test_what_cannot_be_warmed_up_is_an_error(cuda: FakeCuda) -> None:
    def work() -> None:
        msg = 'mat1 and mat2 shapes cannot be multiplied'
        raise RuntimeError(msg)

    with pytest.raises(BackendError, match='cuda:0 failed on a network: mat1'):
        guarded(lambda: DeviceStream(GPU).record(work, 'the work'), GPU, 'a network')
    assert cuda.events == ['empty']
