"""Engines built for real, in a process of their own, for a GPU that is not here."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lemore_core.inference.backend import BackendError, ServingRequest
from lemore_core.inference.tensorrt import build_client as engine_build
from lemore_core.inference.tensorrt.build_client import EngineBuild
from lemore_core.inference.tensorrt.build_protocol import (
    BuildRequest,
    Failure,
    Progress,
    news_from_line,
    news_to_line,
)
from lemore_core.inference.tensorrt.engine_cache import LOCK, EngineCache, EngineKey
from lemore_core.system.file_lock import locked

ROOT = Path(__file__).parents[4]
WAIT_S = 60.0
LOADING = Progress('loading libraries')

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
) -> Iterator[tuple[EngineCache, EngineKey, list[Progress]]]:
    """A cache with an engine in it, its key, and what was told meanwhile."""
    folder = tmp_path_factory.mktemp('engines')
    told: list[Progress] = []
    with closing(EngineBuild(order_in(folder))) as build:
        yield EngineCache(folder), build.wait(told.append), told


def test_an_engine_is_built_and_its_progress_told(
    built: tuple[EngineCache, EngineKey, list[Progress]],
) -> None:
    cache, key, told = built
    assert cache.read(key)
    assert (key.compute_capability, key.height, key.width) == ('8.6', 96, 128)
    assert told[:3] == [LOADING, Progress('exporting'), Progress('in tensorrt-rtx-cu13')]
    assert any(0 <= progress.done <= progress.steps > 0 for progress in told[3:])


def test_a_second_process_waits_and_takes_what_the_first_built(
    built: tuple[EngineCache, EngineKey, list[Progress]], order_in: OrderIn, tmp_path: Path
) -> None:
    cache, key, _ = built
    told: list[str] = []
    waiting = 'waiting for another process that builds it'
    with closing(EngineBuild(order_in(tmp_path))) as build:
        lock = locked(tmp_path / f'{key.digest}{LOCK}')
        lock.__enter__()

        def finish(progress: Progress) -> None:
            told.append(progress.phase)
            if progress.phase == waiting:
                for path in (cache.path(key), cache.path(key).with_suffix('.json')):
                    shutil.copy(path, tmp_path)
                lock.__exit__(None, None, None)

        assert build.wait(finish) == key
    assert told == ['loading libraries', 'exporting', waiting]


def test_it_gives_way_to_everything_else(order_in: OrderIn, tmp_path: Path) -> None:
    order = BuildRequest(order_in(tmp_path).request, '8.6')
    build = EngineBuild(order)
    found: set[tuple[int, int]] = set()

    def look(_: Progress) -> None:
        for folder in Path(f'/proc/{build.pid}/task').iterdir():
            thread = int(folder.name)
            found.add((os.getpriority(os.PRIO_PROCESS, thread), os.sched_getscheduler(thread)))
        build.stop()

    with closing(build), pytest.raises(BackendError, match='ended by SIGTERM'):
        build.wait(look)
    assert found == {(19, os.SCHED_IDLE)}


def test_a_killed_build_is_told(order_in: OrderIn, tmp_path: Path) -> None:
    def kill(progress: Progress) -> None:
        if progress.phase == 'exporting':
            os.kill(build.pid, signal.SIGKILL)

    with (
        closing(EngineBuild(order_in(tmp_path))) as build,
        pytest.raises(BackendError, match=r'ended by SIGKILL \(does the memory suffice\?\)'),
    ):
        build.wait(kill)


def test_what_cannot_be_built_is_told(order_in: OrderIn, tmp_path: Path) -> None:
    order = dataclasses.replace(order_in(tmp_path), compute_capability='9.0')
    with (
        closing(EngineBuild(order)) as build,
        pytest.raises(BackendError, match=r'builds for the compute capabilities .*, not 9\.0'),
    ):
        build.wait(lambda _: None)


def test_a_process_that_does_not_start_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_build, 'MODULE', 'lemore_core.nowhere')
    order = BuildRequest(ServingRequest(tmp_path / 'a.safetensors', 96, 128))
    message = 'ended with code 1: .*No module named lemore_core.nowhere'
    with closing(EngineBuild(order)) as build, pytest.raises(BackendError, match=message):
        build.wait(lambda _: None)


PARENT = """
import sys
from lemore_core.inference.tensorrt.build_protocol import BuildRequest
from lemore_core.inference.tensorrt.build_client import EngineBuild
build = EngineBuild(BuildRequest.from_line(sys.stdin.readline()))
build.wait(lambda progress: print(build.pid, progress, flush=True))
"""


def test_it_dies_with_its_parent(order_in: OrderIn, tmp_path: Path) -> None:
    with start(PARENT) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(order_in(tmp_path).to_line())
        parent.stdin.flush()
        pid = int(parent.stdout.readline().split()[0])
        assert runs(pid)
        parent.kill()
        deadline = time.monotonic() + WAIT_S
        while runs(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not list(tmp_path.glob('*.engine')), 'it ended because it was done'


NOISY = """
import os, sys
from lemore_core.inference.tensorrt import build_worker as engine_process

def build(order, news):
    print('noise')
    os.write(1, b'noise')
    news.report('exporting', 0, 0)
    raise MemoryError('no room\\nat all')

engine_process._build = build
sys.exit(engine_process.main())
"""


def test_what_libraries_print_is_not_among_the_news(tmp_path: Path) -> None:
    order = BuildRequest(ServingRequest(tmp_path / 'a.safetensors', 96, 128), low_priority=False)
    with start(NOISY) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(order.to_line())
        process.stdin.flush()
        lines = process.stdout.read().splitlines()
        assert process.wait(WAIT_S) == 1
    news = [news_from_line(line) for line in lines]
    assert news == [Progress('exporting'), Failure('MemoryError: no room at all')]


@pytest.mark.parametrize('line', ['', 'build it', '{}', '{"request": {"path": "a"}}'])
def test_what_is_no_order_is_refused(line: str) -> None:
    with start(
        'import lemore_core.inference.tensorrt.build_worker as p, sys; sys.exit(p.main())'
    ) as it:
        told, _ = it.communicate(line + '\n', WAIT_S)
    (failure,) = told.splitlines()
    assert 'is no order to build an engine' in failure
    assert it.returncode == 1


def test_orders_and_news_come_through_as_they_were(tmp_path: Path) -> None:
    request = ServingRequest(tmp_path / 'ä b.safetensors', 96, 128, device='cuda:1', batch=2)
    for order in (BuildRequest(request), BuildRequest(request, '8.6', low_priority=False)):
        assert BuildRequest.from_line(order.to_line()) == order
    key = EngineKey('0', 'tensorrt', '11', 'GPU', '8.6', '580', 'fp16', 96, 128, 1)
    for news in (key, LOADING, Progress('x', 3, 4), Failure('because')):
        assert news_from_line(news_to_line(news)) == news
    for line in ('noise', '{"key": {}}', '{"phase": 1}', '[]', '{"progress": {"a": 1}}'):
        with pytest.raises(BackendError, match='is nothing that a build tells'):
            news_from_line(line)


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, '-c', code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def runs(pid: int) -> bool:
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False
    return state != 'Z'
