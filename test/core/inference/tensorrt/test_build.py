"""Engines built by a process that has a fake GPU, and by one that has none."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from lemore_core.common.errors import GpuContextLostError, LemoreError
from lemore_core.export import PrecisionError
from lemore_core.inference.backend import BackendError, RefusedEngineError, ServingRequest, Status
from lemore_core.inference.gpu.device import Gpu
from lemore_core.inference.tensorrt import build as build_module
from lemore_core.inference.tensorrt import engine as engine_module
from lemore_core.inference.tensorrt.build import (
    MIN_IMAGES,
    BackgroundBuilds,
    EngineBuild,
    build_engine,
)
from lemore_core.inference.tensorrt.engine import EngineRejectedError
from test.waiting import wait_for

SIZE = (96, 128)
TORCH = Status('torch', 'cuda:0', 'fp16')


@pytest.fixture
def request_(exported: Path) -> ServingRequest:
    return ServingRequest(exported, *SIZE)


@pytest.fixture
def built(api: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Let this process build and try engines; the list gets the shape of each."""
    shapes: list[tuple[int, ...]] = []
    monkeypatch.setattr(build_module, 'load_tensorrt', lambda: api)
    monkeypatch.setattr(build_module, 'build', lambda *given: shapes.append(given[2]) or b'engine')
    monkeypatch.setattr(engine_module, 'try_engine', lambda *_: None)
    gpu = Gpu('cuda:0', 'NVIDIA RTX A2000 (26 SMs)', '8.6', '580.65')
    monkeypatch.setattr('lemore_core.inference.tensorrt.cache.find_gpu', lambda _: gpu)
    return shapes


@pytest.fixture
def in_background(monkeypatch: pytest.MonkeyPatch) -> BackgroundBuilds:
    """Builds on a machine that seems to have a GPU and TensorRT; its child processes have none."""
    monkeypatch.setattr(build_module, 'gpus', lambda: (SimpleNamespace(),))
    monkeypatch.setattr(build_module, 'missing', lambda _: '')
    return BackgroundBuilds()


def test_an_engine_is_built_once(request_: ServingRequest, built: list[tuple[int, ...]]) -> None:
    for _ in range(2):
        assert build_engine(dataclasses.replace(request_, batch=3)).read() == b'engine'
    assert built == [(3, *SIZE)]


@pytest.mark.usefixtures('built')
@pytest.mark.parametrize(
    'error',
    [
        EngineRejectedError('only 80% of its labels'),
        GpuContextLostError('GPU context lost'),
        PrecisionError('too large for fp16: use fp32'),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_engine_that_fails_its_trial_is_not_built_again(
    request_: ServingRequest, monkeypatch: pytest.MonkeyPatch, error: LemoreError
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(engine_module, 'try_engine', fail)
    with pytest.raises(type(error)):
        build_engine(request_)
    with pytest.raises(RefusedEngineError, match=rf'refused \(.*{error}\): delete'):
        build_engine(request_)


def test_a_process_that_fails_says_why(request_: ServingRequest) -> None:
    build = EngineBuild(request_)
    with pytest.raises(BackendError, match=r'^tensorrt cannot be imported .*: pip install tensor'):
        build.wait()
    assert build.state.startswith('failed: tensorrt cannot be imported')


def test_the_status_follows_a_build(
    request_: ServingRequest, in_background: BackgroundBuilds
) -> None:
    in_background.count(request_, 'torch', MIN_IMAGES - 1)
    assert in_background.status(SIZE, TORCH) == TORCH
    in_background.count(request_, 'torch', 1)
    assert in_background.status(SIZE, TORCH).engine.startswith('building, ')
    assert in_background.status((64, 64), TORCH) == TORCH
    wait_for(lambda: in_background.status(SIZE, TORCH).engine.startswith('failed: tensorrt'))
    status = in_background.status(SIZE, TORCH)
    assert status.degraded == f'torch serves without an engine ({status.engine})'
    in_background.count(request_, 'torch', MIN_IMAGES)
    assert in_background.status(SIZE, TORCH) == status, 'it is not tried again'
    in_background.close()


def test_the_process_yields_to_all_others_and_ends_with_the_backend(
    request_: ServingRequest, in_background: BackgroundBuilds, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[EngineBuild] = []
    start = EngineBuild

    def remember(request: ServingRequest, *, low_priority: bool) -> EngineBuild:
        started.append(start(request, low_priority=low_priority))
        return started[-1]

    monkeypatch.setattr(build_module, 'EngineBuild', remember)
    in_background.count(request_, 'torch', MIN_IMAGES)
    pid = started[0].pid
    wait_for(lambda: os.sched_getscheduler(pid) == os.SCHED_IDLE)
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19
    assert Path(f'/proc/{pid}/oom_score_adj').read_text() == '1000\n', 'it goes before the node'
    in_background.close()
    assert not started[0].state.startswith('building')


@pytest.mark.parametrize(('backend', 'device'), [('tensorrt', 'auto'), ('torch', 'cpu')])
def test_nothing_is_built_where_there_is_no_use(
    request_: ServingRequest, in_background: BackgroundBuilds, backend: str, device: str
) -> None:
    request = dataclasses.replace(request_, device=device)
    in_background.count(request, backend, MIN_IMAGES)
    assert in_background.status(SIZE, TORCH) == TORCH
