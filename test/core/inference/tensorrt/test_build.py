"""The process that builds engines: without a GPU it ends with the reason."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lemore_core.common.json_child import JsonChild
from lemore_core.export.errors import PrecisionError
from lemore_core.inference.backend import BackendError, ServingRequest, Status
from lemore_core.inference.gpu.device import Gpu
from lemore_core.inference.tensorrt import build as build_module
from lemore_core.inference.tensorrt import cache as cache_module
from lemore_core.inference.tensorrt.build import MIN_IMAGES, BackgroundBuilds, build_engine
from lemore_core.inference.tensorrt.cache import EngineCache, locate_engine

SIZE = (64, 128)
TORCH = Status('torch', 'cuda:0', 'fp16')


@pytest.fixture(autouse=True)
def _gpu_here(api: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a GPU and TensorRT be here; the child processes know neither."""
    gpu = Gpu('cuda:0', 'NVIDIA RTX A2000 (26 SMs)', '8.6', api.__version__)
    monkeypatch.setattr(cache_module, 'find_gpu', lambda _: gpu)
    monkeypatch.setattr(build_module, 'gpu_count', lambda: 1)
    monkeypatch.setattr(build_module, 'missing', lambda _: '')


@pytest.fixture
def request_(exported: Path) -> ServingRequest:
    return ServingRequest(exported, *SIZE)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_build_that_fails_says_why(request_: ServingRequest) -> None:
    with pytest.raises(BackendError, match=r'tensorrt cannot be imported .*: pip install tensorrt'):
        build_engine(request_)
    assert EngineCache().refusal(locate_engine(request_).digest) == '', 'another time it may work'


def test_an_engine_that_another_process_built_is_taken(request_: ServingRequest) -> None:
    EngineCache().keep(locate_engine(request_).digest, b'engine')
    build_engine(request_)


def test_fp32_is_built_where_fp16_does_not_fit(
    untrained_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ServingRequest(untrained_checkpoint, *SIZE)
    asked = []

    def start(_: str, order: dict[str, object]) -> JsonChild:
        asked.append(order['half'])
        digest = str(order['digest'])
        if order['half']:
            EngineCache().refuse(digest, PrecisionError('too large'))
            msg = 'too large'
            raise build_module.ChildError(msg, 'PrecisionError')
        EngineCache().keep(digest, b'engine')
        return JsonChild(build_module.MODULE, order)

    monkeypatch.setattr(build_module, 'JsonChild', start)
    build_engine(request)
    assert asked == [True, False]
    assert locate_engine(request).is_built
    with pytest.raises(BackendError, match='too large'):
        build_engine(ServingRequest(untrained_checkpoint, *SIZE, precision='fp16'))


def test_the_status_follows_a_build(request_: ServingRequest) -> None:
    builds = BackgroundBuilds()
    builds.count(request_, 'torch', MIN_IMAGES - 1)
    assert builds.status(SIZE, TORCH) == TORCH
    EngineCache().keep(locate_engine(request_).digest, b'engine')
    builds.count(request_, 'torch', 1)
    assert builds.status(SIZE, TORCH).engine.startswith('building, ')
    wait_for(lambda: not builds.status(SIZE, TORCH).engine.startswith('building'))
    assert builds.status(SIZE, TORCH) == Status(
        'torch', 'cuda:0', 'fp16', engine='ready at the next start'
    )
    builds.close()


def test_a_build_that_is_killed_costs_the_engine_only(
    request_: ServingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = BackgroundBuilds()

    class Killed(JsonChild):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            os.kill(self.pid, 9)
            return super().__iter__()

    monkeypatch.setattr(build_module, 'JsonChild', Killed)
    builds.count(request_, 'torch', MIN_IMAGES)
    wait_for(lambda: builds.status(SIZE, TORCH).engine.startswith('failed'))
    status = builds.status(SIZE, TORCH)
    assert 'ended by SIGKILL (is there enough memory?)' in status.engine
    assert status.degraded == f'torch serves without an engine ({status.engine})'
    builds.count(request_, 'torch', MIN_IMAGES)
    assert builds.status(SIZE, TORCH) == status, 'it is not tried again'
    builds.close()


def test_closing_ends_the_build(request_: ServingRequest) -> None:
    builds = BackgroundBuilds()
    with EngineCache().one_builder():
        # the process waits for its turn
        builds.count(request_, 'torch', MIN_IMAGES)
        started = time.monotonic()
        builds.close()
    assert time.monotonic() - started < 10
    builds.count(request_, 'torch', MIN_IMAGES)


@pytest.mark.parametrize(('backend', 'device'), [('tensorrt', 'auto'), ('torch', 'cpu')])
def test_nothing_is_built_where_there_is_no_use(
    request_: ServingRequest, backend: str, device: str
) -> None:
    builds = BackgroundBuilds()
    builds.count(dataclasses.replace(request_, device=device), backend, MIN_IMAGES)
    assert builds.status(SIZE, TORCH) == TORCH


def test_the_process_yields_to_all_others(
    request_: ServingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds, started = BackgroundBuilds(), []

    class Watched(JsonChild):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            started.append(self.pid)

    monkeypatch.setattr(build_module, 'JsonChild', Watched)
    with EngineCache().one_builder():
        builds.count(request_, 'torch', MIN_IMAGES)
        wait_for(lambda: bool(started))
        (pid,) = started
        wait_for(lambda: os.sched_getscheduler(pid) == os.SCHED_IDLE)
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19
        score = Path(f'/proc/{pid}/oom_score_adj').read_text()
        assert score == '1000\n', 'it goes before the node'
        builds.close()
