"""Engines built for real, in a process of their own, for a GPU that is not here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from onnx import TensorProto, helper

from lemore_core.common.errors import GpuContextLostError, LemoreError
from lemore_core.common.validation import from_mapping
from lemore_core.inference.backend import BackendError, QuarantinedError, ServingRequest
from lemore_core.inference.tensorrt import build_process, trial
from lemore_core.inference.tensorrt.build_process import (
    BuildRequest,
    Target,
    engine_key,
    wait_for_engine,
)
from lemore_core.inference.tensorrt.engine_cache import (
    LOCK,
    EngineCache,
    EngineKey,
)
from lemore_core.inference.tensorrt.libraries import (
    TENSORRT,
    TENSORRT_RTX,
    Library,
)
from lemore_core.inference.tensorrt.trial import EngineRejectedError

WAIT_S = 60.0

OrderIn = Callable[[Path], BuildRequest]


@pytest.fixture(scope='module')
def order_in(exported: Path) -> OrderIn:
    """Return a function that orders an engine into a folder."""
    pytest.importorskip('tensorrt_rtx', reason='pip install tensorrt-rtx-cu13')

    def order(folder: Path) -> BuildRequest:
        request = ServingRequest(exported, 96, 128, engine_cache=folder)
        # the machine that runs the tests may have no idle time to give
        return BuildRequest(request, Target('8.6'), low_priority=False)

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
        with FileLock(tmp_path / LOCK):
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
            with suppress(BackendError):  # it is stopped below
                wait_for_engine(build)

        thread = threading.Thread(target=wait)
        thread.start()
        lowest = {(19, os.SCHED_IDLE)}
        oom_score = Path(f'/proc/{build.pid}/oom_score_adj')
        while priorities(build.pid) != lowest:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert oom_score.read_text() == '1000\n', 'it goes before the node'
        build.stop()
        thread.join(WAIT_S)


def priorities(pid: int) -> set[tuple[int, int]]:
    threads = [int(folder.name) for folder in Path(f'/proc/{pid}/task').iterdir()]
    return {(os.getpriority(os.PRIO_PROCESS, t), os.sched_getscheduler(t)) for t in threads}


def test_what_cannot_be_built_is_said(order_in: OrderIn, tmp_path: Path, exported: Path) -> None:
    pytest.importorskip('tensorrt_rtx', reason='pip install tensorrt-rtx-cu13')
    order = order_in(tmp_path)
    with pytest.raises(BackendError, match=r'builds for the compute capabilities .*, not 9\.0'):
        dataclasses.replace(order, target=Target('9.0')).start()
    damaged = tmp_path / 'damaged.onnx'
    damaged.write_bytes(exported.read_bytes().replace(b'Softmax', b'Hardmux'))
    request = dataclasses.replace(order.request, path=damaged)
    with (
        dataclasses.replace(order, request=request).start() as build,
        pytest.raises(BackendError, match=r'cannot parse the network: .*Hardmux'),
    ):
        wait_for_engine(build)


def test_an_order_comes_through_as_it_was(tmp_path: Path) -> None:
    request = ServingRequest(
        tmp_path / 'ä b.safetensors', 96, 128, device='cuda:1', batch=2, engine_cache=tmp_path
    )
    target = Target('8.6', 'cuda:1', 'NVIDIA RTX A2000 (26 SMs)', '580.65')
    for order in (BuildRequest(request, target), BuildRequest(request, Target('8.6'))):
        line = json.loads(json.dumps(dataclasses.asdict(order), default=str))
        assert from_mapping(BuildRequest, line, 'order', BackendError) == order


def library(module: str, version: str = '11.4.0.106') -> Library:
    return Library(module, SimpleNamespace(__version__=version))


def test_an_engine_built_ahead_is_the_one_of_every_such_gpu() -> None:
    request, rtx = ServingRequest(Path('a.safetensors'), 96, 128), library(TENSORRT_RTX)
    ahead = engine_key(request, Target('8.6'), rtx, b'onnx')
    here = Target('8.6', 'cuda:0', 'NVIDIA RTX A2000', '580.65')
    assert ahead.onnx_sha256 == hashlib.sha256(b'onnx').hexdigest()
    assert engine_key(request, here, rtx, b'onnx') == ahead
    others = [
        engine_key(request, Target('8.9'), rtx, b'onnx'),
        engine_key(request, Target('8.6'), rtx, b'another'),
        engine_key(request, Target('8.6'), library(TENSORRT_RTX, '1.8'), b'onnx'),
        engine_key(dataclasses.replace(request, batch=2), here, rtx, b'onnx'),
        engine_key(dataclasses.replace(request, precision='fp32'), here, rtx, b'onnx'),
    ]
    assert len({ahead, *others}) == 6


def test_an_engine_built_on_a_gpu_is_its_own() -> None:
    request = ServingRequest(Path('a.safetensors'), 96, 128)
    here = Target('8.6', 'cuda:0', 'NVIDIA RTX A2000', '580.65')
    key = engine_key(request, here, library(TENSORRT), b'onnx')
    assert (key.library, key.version) == ('tensorrt', '11.4.0.106')
    assert (key.gpu, key.driver) == ('NVIDIA RTX A2000', '580.65')


@pytest.mark.parametrize(('first', 'expected'), [('batch', 3), (1, 1)])
def test_a_file_of_one_image_is_built_for_one(
    tmp_path: Path, first: int | str, expected: int
) -> None:
    ports = [
        helper.make_tensor_value_info('pixels', TensorProto.UINT8, [first, 8, 8, 3]),
        helper.make_tensor_value_info('logits', TensorProto.UINT8, [first, 8, 8, 3]),
    ]
    node = helper.make_node('Identity', ['pixels'], ['logits'])
    content = helper.make_model(
        helper.make_graph([node], 'one', ports[:1], ports[1:])
    ).SerializeToString()
    request = ServingRequest(tmp_path / 'imported.onnx', 8, 8, batch=3)
    assert engine_key(request, Target('8.6'), library(TENSORRT), content).batch == expected


@pytest.mark.parametrize(
    ('visible', 'index', 'expected'), [(None, 1, '1'), ('2,3', 1, '3'), ('GPU-ab', 0, 'GPU-ab')]
)
def test_the_process_sees_the_gpu_that_it_builds_for(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, index: int, expected: str
) -> None:
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    build_process._see_only(index)
    assert os.environ['CUDA_VISIBLE_DEVICES'] == expected


@pytest.mark.parametrize(
    'error',
    [EngineRejectedError('only 80% of its labels'), GpuContextLostError('GPU context lost')],
    ids=lambda error: type(error).__name__,
)
def test_an_engine_that_fails_its_first_images_is_not_built_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: LemoreError
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(build_process, 'build', lambda *_: b'engine')
    monkeypatch.setattr(trial, 'try_engine', fail)
    request = ServingRequest(Path('a.safetensors'), 96, 128)
    here, cache = Target('8.6', 'cuda:0', 'GPU', '580'), EngineCache(tmp_path)
    key = engine_key(request, here, library(TENSORRT), b'onnx')

    def build() -> bytes:
        return build_process._build(library(TENSORRT), b'onnx', key, cache, here)

    with pytest.raises(type(error)):
        cache.get_or_build(key, build)
    with pytest.raises(QuarantinedError, match=rf'in quarantine \({error}\)'):
        cache.get_or_build(key, build)
