from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lemore_core.inference import ServingRequest, Status, registry
from lemore_core.inference.backend import BackendError
from lemore_core.inference.fallback import Fallback
from lemore_core.inference.gpu import device as gpu
from lemore_core.inference.gpu.device import Gpu
from lemore_core.inference.tensorrt import backend as tensorrt_backend
from lemore_core.inference.tensorrt import background as serving
from lemore_core.inference.tensorrt import build_process
from lemore_core.inference.tensorrt.build_process import Target
from lemore_core.inference.tensorrt.engine_cache import EngineKey
from lemore_core.inference.tensorrt.hot_swap import HotSwapBackend
from lemore_core.inference.tensorrt.libraries import ComputeCapability
from lemore_core.segmenter import Segmenter

KEY = EngineKey('0', 'tensorrt', '11', 'GPU', '8.6', '580', 'fp16', 96, 128, 1)
REQUEST = ServingRequest(Path('a.safetensors'), 96, 128)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let TensorRT be there and build for every GPU."""
    monkeypatch.setattr(registry, 'missing', lambda _: '')
    library = SimpleNamespace(builds_ahead=False)
    monkeypatch.setattr(build_process, 'library_for_gpu', lambda _: library)


@pytest.fixture
def second_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be two GPUs, of which the second is asked for."""
    found = Gpu(1, 'NVIDIA RTX A2000', ComputeCapability(8, 6), '580')
    monkeypatch.setattr(gpu, 'find_gpu', lambda _: found)
    monkeypatch.setattr(serving, 'gpu_count', lambda: 2)


def refuse(_: Any) -> Any:
    msg = 'there is none'
    raise BackendError(msg)


@pytest.mark.usefixtures('installed', 'second_gpu')
def test_an_engine_is_for_the_gpu_that_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    source = serving.find_engine_source(REQUEST)
    assert source is not None
    on_gpu = dataclasses.replace(REQUEST, device='cuda:1')
    assert source.order.request == on_gpu
    assert source.order.target == Target('8.6', 'cuda:1', 'NVIDIA RTX A2000', '580')
    assert source.order.low_priority
    asked: list[Any] = []
    monkeypatch.setattr(tensorrt_backend, 'load_engine', lambda *args: asked.append(args))
    source.load(KEY)
    assert asked == [(on_gpu, KEY)]


@pytest.mark.usefixtures('second_gpu')
def test_where_tensorrt_is_not_installed_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, 'missing', lambda _: 'pip install tensorrt')
    with caplog.at_level(logging.INFO):
        assert serving.find_engine_source(REQUEST) is None
    assert not caplog.records


@pytest.mark.usefixtures('installed')
def test_where_there_is_no_gpu_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu, 'find_gpu', refuse)
    for count in (0, 1):
        monkeypatch.setattr(serving, 'gpu_count', lambda n=count: n)
        with caplog.at_level(logging.INFO):
            assert serving.find_engine_source(REQUEST) is None
    assert not caplog.records


@pytest.mark.usefixtures('installed', 'second_gpu')
def test_a_tensorrt_that_cannot_serve_the_gpu_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(build_process, 'library_for_gpu', refuse)
    with caplog.at_level(logging.INFO):
        assert serving.find_engine_source(REQUEST) is None
    assert [record.message for record in caplog.records] == ['no engine: there is none']


@pytest.mark.usefixtures('installed', 'second_gpu')
def test_who_asked_for_the_cpu_gets_it() -> None:
    assert serving.find_engine_source(dataclasses.replace(REQUEST, device='cpu')) is None


@pytest.mark.usefixtures('installed', 'second_gpu')
def test_only_what_auto_chose_is_handed_over(
    untrained_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, 'choose', lambda *_: 'torch')
    request = ServingRequest(untrained_checkpoint, 96, 128)
    assert isinstance(serving.load_with_engine('auto', request), HotSwapBackend)
    assert not isinstance(serving.load_with_engine('torch', request), HotSwapBackend)


@pytest.mark.usefixtures('installed', 'second_gpu')
def test_a_gpu_without_room_is_left_alone(
    untrained_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ServingRequest(untrained_checkpoint, 96, 128, device='cpu')
    fallen = Fallback(registry.load('torch', request), 'the CPU because …')
    monkeypatch.setattr(registry, 'load', lambda *_: fallen)
    assert serving.load_with_engine('auto', REQUEST) is fallen


@pytest.mark.usefixtures('installed', 'second_gpu')
@pytest.mark.parametrize(('backend', 'precision'), [('torch', 'fp32'), ('onnxruntime', 'auto')])
def test_the_engine_is_of_the_precision_that_torch_chose(
    untrained_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, backend: str, precision: str
) -> None:
    asked: list[ServingRequest] = []
    monkeypatch.setattr(registry, 'choose', lambda *_: backend)
    monkeypatch.setattr(serving, 'find_engine_source', asked.append)
    serving.load_with_engine('auto', ServingRequest(untrained_checkpoint, 96, 128, device='cpu'))
    assert [request.precision for request in asked] == [precision]


@pytest.mark.usefixtures('installed', 'second_gpu')
@pytest.mark.parametrize('live', [True, False])
def test_a_segmenter_has_it_where_it_is_asked_for(untrained_checkpoint: Path, live: bool) -> None:
    segmenter = Segmenter.load(untrained_checkpoint, live=live)
    engine = 'waiting for images' if live else ''
    assert segmenter.status.engine == engine
    segmenter.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_here_nothing_is_built(untrained_checkpoint: Path) -> None:
    segmenter = Segmenter.load(untrained_checkpoint, live=True)
    assert segmenter.status == Status('onnxruntime', 'cpu', 'fp32')
