"""How work is recorded on a GPU, with a stand-in for CUDA; what it records is tested on one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lemore_core.inference.gpu.stream import WARM_UPS, DeviceStream

GPU = torch.device('cuda:0')


class FakeCuda:
    """Records what is asked of it; ``failure`` is what a recording fails with."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.failure: Exception | None = None
        self.pools = 0

    def stream(self, device: torch.device) -> SimpleNamespace:
        assert device == GPU
        return SimpleNamespace(synchronize=lambda: self.events.append('wait'))

    def new_graph(self) -> SimpleNamespace:
        return SimpleNamespace(replay=lambda: self.events.append('replay'))

    def new_pool(self) -> int:
        self.pools += 1
        return self.pools

    @contextmanager
    def record(self, _: Any, **options: Any) -> Iterator[None]:
        assert options.pop('stream') is not None
        assert options == {'pool': self.pools, 'capture_error_mode': 'thread_local'}
        self.events.append('begin')
        yield
        if self.failure is not None:
            raise self.failure
        self.events.append('end')


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(torch.cuda, 'Stream', fake.stream)
    monkeypatch.setattr(torch.cuda, 'device', lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, 'stream', lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, 'CUDAGraph', fake.new_graph)
    monkeypatch.setattr(torch.cuda, 'graph', fake.record)
    monkeypatch.setattr(torch.cuda, 'graph_pool_handle', fake.new_pool)
    return fake


def test_work_is_warmed_up_and_recorded_once(cuda: FakeCuda) -> None:
    stream = DeviceStream(GPU)
    with stream.entered():
        run = stream.record(lambda: cuda.events.append('work'), 'the work')
    assert cuda.events == ['work'] * WARM_UPS + ['wait', 'begin', 'work', 'end']
    run()
    assert cuda.events[-2:] == ['end', 'replay']


def test_work_that_cannot_be_recorded_is_started_step_by_step(
    cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    cuda.failure = RuntimeError('operation not permitted when stream is capturing')
    stream = DeviceStream(GPU)
    with caplog.at_level(logging.INFO):
        run = stream.record(lambda: cuda.events.append('work'), 'the work')
    run()
    assert cuda.events[-1] == 'work'
    (record,) = caplog.records
    assert 'no CUDA graph of the work' in record.getMessage()
    assert 'not permitted' in record.getMessage()
    assert cuda.pools == 2, 'a broken pool was kept'
    cuda.failure = None
    stream.record(lambda: None, 'other work')()
    assert cuda.events[-1] == 'replay'


def test_a_full_device_is_no_reason_to_go_on(cuda: FakeCuda) -> None:
    cuda.failure = torch.cuda.OutOfMemoryError('CUDA out of memory')
    with pytest.raises(torch.cuda.OutOfMemoryError):
        DeviceStream(GPU).record(lambda: None, 'the work')
