"""Engines are built for real for a GPU that is not here; PyTorch on the CPU stands in for them."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lemore_core import checkpoint
from lemore_core.common.errors import GpuContextLostError
from lemore_core.images.image import Image
from lemore_core.inference import torch_backend
from lemore_core.inference.backend import (
    Backend,
    BackendError,
    QuarantinedError,
    ServingRequest,
    Status,
)
from lemore_core.inference.tensorrt import build_process, hot_swap
from lemore_core.inference.tensorrt.build_process import BuildRequest, Target
from lemore_core.inference.tensorrt.engine_cache import EngineCache, EngineKey
from lemore_core.inference.tensorrt.hot_swap import CHECKS, EngineSource, HotSwapBackend
from lemore_core.segmentation import Segmentation

pytest.importorskip('tensorrt_rtx', reason='pip install tensorrt-rtx-cu13')

WAIT_S = 60.0
KEY = EngineKey('ab' * 32, 'tensorrt', '11.4.0', 'GPU', '8.6', '580', 'fp16', 96, 128, 1)
Make = Callable[..., HotSwapBackend]
Running = Callable[[], list[int]]


class StandIn:
    """Labels as a backend does, calls itself TensorRT, and fails or errs as it is told."""

    def __init__(self, backend: Backend, *, wrong: float = 0.0) -> None:
        self.status = Status('tensorrt', 'cuda:0', 'fp16')
        self.calls = 0
        self.warmed_up_on: list[str] = []
        self.closed = False
        self.broken = False
        self.lost: GpuContextLostError | None = None
        self._backend = backend
        self.wrong = wrong

    def segment(self, images: Sequence[Image]) -> list[Segmentation]:
        if any(image.pixels.any() for image in images):
            self.calls += 1
        else:
            self.warmed_up_on.append(threading.current_thread().name)
        if self.lost is not None:
            raise self.lost
        if self.broken:
            msg = 'the GPU fell off\nthe bus'
            raise BackendError(msg)
        found = self._backend.segment(images)
        for result in found:
            result.labels.reshape(-1)[: int(self.wrong * result.labels.size)] = 254
        return found

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._backend.logits(pixels)

    def close(self) -> None:
        self.closed = True


class BuiltAlready:
    """A build, as its parent sees it, that answers at once."""

    def __init__(self, request: ServingRequest, key: EngineKey) -> None:
        self.request = request
        self._answer = dataclasses.asdict(key)

    def start(self) -> Any:
        return self

    def stop(self) -> None:
        pass

    def result(self) -> dict[str, Any]:
        return self._answer

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(scope='module')
def network(untrained_checkpoint: Path) -> Backend:
    return torch_backend.load(request_of(untrained_checkpoint))


@pytest.fixture
def serving(network: Backend) -> StandIn:
    serving = StandIn(network)
    serving.status = Status('torch', 'cpu', 'fp32')
    return serving


@pytest.fixture
def make(serving: StandIn, exported: Path, tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes a swap from ``serving`` to what ``load`` gives.

    Where ``builds`` is false, the engine is there before it is asked for.
    """
    made: list[HotSwapBackend] = []

    def make(
        load: Callable[[EngineKey], Backend],
        *,
        path: Path = exported,
        builds: bool = True,
        **options: Any,
    ) -> Any:
        request = request_of(path, tmp_path)
        order: Any = BuiltAlready(request, KEY)
        if builds:
            order = BuildRequest(request, Target('8.6'), low_priority=False)
        made.append(HotSwapBackend(serving, EngineSource(order, load), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def request_of(path: Path, folder: Path | None = None) -> ServingRequest:
    # random weights overflow half precision
    precision = 'auto' if path.suffix == '.onnx' else 'fp32'
    return ServingRequest(path, 96, 128, device='cpu', precision=precision, engine_cache=folder)


def images(count: int = 1) -> list[Image]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 60, 80, 3), np.uint8)
    return [Image(each) for each in pixels]


def label_until(backend: HotSwapBackend, state: str) -> list[str]:
    """Label until the engine's text begins with ``state``; return the texts on the way."""
    texts = [backend.status.engine]
    deadline = time.monotonic() + WAIT_S
    while not texts[-1].startswith(state):
        assert time.monotonic() < deadline, texts
        backend.segment(images())
        time.sleep(0.02)  # as between the images of a camera
        if backend.status.engine != texts[-1]:
            texts.append(backend.status.engine)
    return texts


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def same(found: list[Segmentation], expected: list[Segmentation]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(np.array_equal(a.labels, b.labels) for a, b in pairs)


def test_an_engine_takes_over_between_two_images(
    make: Make,
    serving: StandIn,
    network: Backend,
    untrained_checkpoint: Path,
    tmp_path: Path,
    engine_processes: Running,
) -> None:
    engine = StandIn(network, wrong=0.009)

    go_on = threading.Event()

    def load(key: EngineKey) -> Backend:
        assert EngineCache(tmp_path).read(key)
        assert go_on.wait(WAIT_S)
        return engine

    backend = make(load, path=untrained_checkpoint, min_frames=3)
    expected = backend.segment(images())
    assert backend.status == Status('torch', 'cpu', 'fp32', engine='waiting for images')
    texts = label_until(backend, 'loading')
    assert all(text.startswith('building, ') for text in texts[1:-1])
    go_on.set()
    wait_until(lambda: backend.status.engine == 'checking')
    assert engine.calls == 0, 'it waits for an image'
    assert engine.warmed_up_on == ['lemore_engine'], 'not between the labels of two images'
    calls = serving.calls
    for checks in range(1, CHECKS + 1):
        # one image on which an engine errs is not what rejects it
        engine.wrong = 0.5 if checks == 2 else 0.009
        assert backend.status.engine == 'checking'
        assert same(backend.segment(images()), expected), 'the old one still answers'
        assert (serving.calls, engine.calls) == (calls + checks, checks)
    assert serving.closed
    assert backend.status == Status('tensorrt', 'cuda:0', 'fp16', engine='serving')

    found = backend.segment(images(2))
    assert (serving.calls, engine.calls) == (calls + CHECKS, CHECKS + 1)
    assert np.mean(found[0].labels == expected[0].labels) == pytest.approx(0.991, abs=0.001)
    engine.broken = True
    with pytest.raises(BackendError, match='fell off'):
        backend.segment(images())
    assert backend.status.engine == 'serving'
    assert not engine_processes()
    backend.close()
    assert engine.closed


@pytest.fixture
def other_weights(untrained_checkpoint: Path, tmp_path: Path) -> Path:
    card, network = checkpoint.load(untrained_checkpoint)
    torch.manual_seed(1)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.data += parameter.std() * torch.randn_like(parameter)
    path = tmp_path / 'other.safetensors'
    checkpoint.save(path, card, network.state_dict())
    return path


def test_an_engine_that_labels_otherwise_is_rejected(
    make: Make, serving: StandIn, other_weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = StandIn(torch_backend.load(request_of(other_weights)))
    backend = make(lambda _: engine, builds=False, min_frames=1)
    expected = backend.segment(images())
    *_, text = label_until(backend, 'rejected')
    assert text.startswith('rejected: only ')
    assert text.endswith('% of its labels are those of torch, 99% must be')
    assert backend.status.degraded == f'torch serves without an engine ({text})'
    assert (backend.status.backend, engine.closed, engine.calls) == ('torch', True, CHECKS)
    for _ in range(3):
        assert same(backend.segment(images()), expected)
    assert (engine.calls, serving.closed) == (CHECKS, False)
    (warning,) = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert warning == f'128x96: {backend.status.degraded}'


@pytest.mark.parametrize('when', ['load', 'first image'])
def test_an_engine_that_fails_at_first_leaves_the_old_one_serving(
    make: Make, serving: StandIn, network: Backend, when: str
) -> None:
    engine = StandIn(network)
    engine.broken = True

    def load(_: EngineKey) -> Backend:
        if when == 'load':
            msg = 'CUDA out of memory'
            raise RuntimeError(msg)
        return engine

    backend = make(load, builds=False, min_frames=1)
    expected = backend.segment(images())
    label_until(backend, 'failed')
    reason = {
        'load': 'failed: RuntimeError: CUDA out of memory',
        'first image': 'failed: the GPU fell off the bus',
    }[when]
    assert backend.status.engine == reason
    assert backend.status.degraded == f'torch serves without an engine ({reason})'
    assert same(backend.segment(images()), expected)
    assert engine.closed is (when == 'first image')
    assert not serving.closed


@pytest.mark.parametrize('when', ['load', 'first image', 'serving'])
def test_an_engine_that_loses_the_context_is_not_used_by_the_next_start(
    serving: StandIn, network: Backend, tmp_path: Path, when: str
) -> None:
    engine, lost = StandIn(network), GpuContextLostError('GPU context lost')

    def load(_: EngineKey) -> Backend:
        if when != 'serving':
            # what one thread does to the context, every thread sees
            engine.lost = serving.lost = lost
        if when == 'load':
            raise lost
        return engine

    order: Any = BuiltAlready(request_of(tmp_path / 'model.onnx', tmp_path), KEY)
    backend = HotSwapBackend(serving, EngineSource(order, load), min_frames=1)
    if when == 'serving':
        label_until(backend, 'serving')
        engine.lost = lost
    with pytest.raises(GpuContextLostError):
        label_until(backend, 'never')
    assert not engine.closed, 'freeing what is on a lost GPU aborts the process'
    with pytest.raises(QuarantinedError, match=r'in quarantine \(GPU context lost\)'):
        EngineCache(tmp_path).get_or_build(KEY, lambda: pytest.fail('it was built again'))


def test_a_build_that_is_killed_leaves_the_old_one_serving(
    make: Make, engine_processes: Running
) -> None:
    backend = make(never, min_frames=1)
    expected = backend.segment(images())
    label_until(backend, 'building')
    (pid,) = engine_processes()
    os.kill(pid, signal.SIGKILL)
    label_until(backend, 'failed')
    assert 'ended by SIGKILL' in backend.status.engine
    assert backend.status.engine in backend.status.degraded
    assert same(backend.segment(images()), expected)
    assert not engine_processes()


def test_a_build_that_crashes_leaves_the_old_one_serving(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_process, 'MODULE', 'lemore_core.nowhere')
    backend = make(never, min_frames=1)
    label_until(backend, 'failed')
    assert 'No module named lemore_core.nowhere' in backend.status.degraded


def test_a_process_that_cannot_be_started_leaves_the_old_one_serving(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('sys.executable', '/nowhere/python')
    backend = make(never, min_frames=1)
    label_until(backend, 'failed: FileNotFoundError: ')


def test_a_few_images_start_nothing(make: Make, engine_processes: Running) -> None:
    backend = make(never, min_frames=4)
    backend.segment(images(3))
    assert backend.segment([]) == []
    assert backend.status.engine == 'waiting for images'
    backend.close()
    backend.segment(images(2))
    assert not engine_processes()
    assert not threads()


def test_what_degrades_the_old_one_is_not_forgotten(make: Make, serving: StandIn) -> None:
    serving.status = Status('torch', 'cpu', 'fp32', degraded='the CPU because …')
    assert make(never).status.degraded == 'the CPU because …'


def test_closing_ends_a_build_at_once(
    make: Make, serving: StandIn, engine_processes: Running, caplog: pytest.LogCaptureFixture
) -> None:
    backend = make(never, min_frames=1)
    label_until(backend, 'building')
    assert engine_processes()
    started = time.monotonic()
    backend.close()
    assert time.monotonic() - started < hot_swap.JOIN_S / 2
    assert not engine_processes()
    assert not threads()
    assert serving.closed
    assert not caplog.records, 'it did not fail, it was stopped'


def test_an_engine_that_comes_too_late_is_let_go(
    make: Make, serving: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot_swap, 'JOIN_S', 0.05)
    engine, loading, go_on = StandIn(serving), threading.Event(), threading.Event()

    def load(_: EngineKey) -> Backend:
        loading.set()
        assert go_on.wait(WAIT_S)
        return engine

    backend = make(load, builds=False, min_frames=1)
    backend.segment(images())
    wait_until(loading.is_set)
    assert backend.status.engine == 'loading'
    backend.close()
    assert not engine.closed
    go_on.set()
    wait_until(lambda: engine.closed)
    assert not engine.calls


def never(_: EngineKey) -> Backend:
    pytest.fail('there is no engine to load')


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == 'lemore_engine']
