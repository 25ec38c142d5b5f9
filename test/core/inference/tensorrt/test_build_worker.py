"""Engines built for real, in a process of their own, for a GPU that is not here."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

from lemore_core.inference.backend import BackendError, ServingRequest
from lemore_core.inference.tensorrt.build_client import BuildRequest, wait_for_engine
from lemore_core.inference.tensorrt.engine_cache import LOCK, EngineCache, EngineKey
from lemore_core.system.json_child import ChildError
from lemore_core.validation import from_mapping

WAIT_S = 60.0

OrderIn = Callable[[Path], BuildRequest]


@pytest.fixture(scope='module')
def order_in(exported: Path) -> OrderIn:
    """Return a function that orders an engine into a folder."""
    pytest.importorskip('tensorrt_rtx', reason='pip install tensorrt-rtx-cu13')

    def order(folder: Path) -> BuildRequest:
        request = ServingRequest(exported, 96, 128, engine_cache=folder)
        # the machine that runs the tests may have no idle time to give
        return BuildRequest(request, '8.6', low_priority=False)

    return order


@pytest.fixture(scope='module')
def built(
    order_in: OrderIn, tmp_path_factory: pytest.TempPathFactory
) -> tuple[EngineCache, EngineKey]:
    """A cache with an engine in it, and its key."""
    folder = tmp_path_factory.mktemp('engines')
    with order_in(folder).start() as build:
        return EngineCache(folder), wait_for_engine(build)


def test_an_engine_is_built(built: tuple[EngineCache, EngineKey]) -> None:
    cache, key = built
    assert cache.read(key)
    assert (key.compute_capability, key.height, key.width) == ('8.6', 96, 128)


def test_a_second_process_waits_and_takes_what_the_first_built(
    built: tuple[EngineCache, EngineKey], order_in: OrderIn, tmp_path: Path
) -> None:
    cache, key = built
    with order_in(tmp_path).start() as build:
        with FileLock(tmp_path / f'{key.digest}{LOCK}'):
            for path in (cache.path(key), cache.path(key).with_suffix('.json')):
                shutil.copy(path, tmp_path)
            written = (tmp_path / cache.path(key).name).stat().st_mtime_ns
        assert wait_for_engine(build) == key
    assert (tmp_path / cache.path(key).name).stat().st_mtime_ns == written


def test_it_has_the_lowest_priority(order_in: OrderIn, tmp_path: Path) -> None:
    order = dataclasses.replace(order_in(tmp_path), low_priority=True)
    deadline = time.monotonic() + WAIT_S
    with order.start() as build:

        def wait() -> None:
            with suppress(ChildError):  # it is stopped below
                wait_for_engine(build)

        thread = threading.Thread(target=wait)
        thread.start()
        lowest = {(19, os.SCHED_IDLE)}
        while priorities(build.pid) != lowest:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        build.stop()
        thread.join(WAIT_S)


def priorities(pid: int) -> set[tuple[int, int]]:
    threads = [int(folder.name) for folder in Path(f'/proc/{pid}/task').iterdir()]
    return {(os.getpriority(os.PRIO_PROCESS, t), os.sched_getscheduler(t)) for t in threads}


def test_what_cannot_be_built_is_said(order_in: OrderIn, tmp_path: Path) -> None:
    order = dataclasses.replace(order_in(tmp_path), compute_capability='9.0')
    with (
        order.start() as build,
        pytest.raises(ChildError, match=r'builds for the compute capabilities .*, not 9\.0'),
    ):
        wait_for_engine(build)


def test_an_order_comes_through_as_it_was(tmp_path: Path) -> None:
    request = ServingRequest(
        tmp_path / 'ä b.safetensors', 96, 128, device='cuda:1', batch=2, engine_cache=tmp_path
    )
    for order in (BuildRequest(request), BuildRequest(request, '8.6', low_priority=False)):
        line = json.loads(json.dumps(dataclasses.asdict(order), default=str))
        assert from_mapping(BuildRequest, line, 'order', BackendError) == order
