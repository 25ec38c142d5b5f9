from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.nn import functional

from lemore_core.common.errors import GpuContextLostError
from lemore_core.images.image import Image
from lemore_core.inference.backend import (
    BackendError,
    DeviceMemoryError,
    RefusedEngineError,
    ServingRequest,
    Status,
)
from lemore_core.inference.gpu import pipeline as pipeline_module
from lemore_core.inference.tensorrt import backend as tensorrt_backend
from lemore_core.inference.tensorrt.cache import CachedEngine, locate_engine
from lemore_core.inference.tensorrt.engine import (
    Engine,
    EngineRejectedError,
    UnloadableEngineError,
    try_engine,
)

HEIGHT, WIDTH = 64, 128


@pytest.fixture
def request_(untrained_checkpoint: Path, api: ModuleType) -> ServingRequest:  # noqa: ARG001
    """A request for which the cache has no engine yet."""
    return ServingRequest(untrained_checkpoint, HEIGHT, WIDTH, batch=2)


def keep(request: ServingRequest, content: bytes) -> CachedEngine:
    cached = locate_engine(request)
    cached.keep(content)
    assert cached.is_built
    return cached


@pytest.mark.parametrize(('count', 'batch'), [(1, -1), (2, -1), (5, -1), (1, 2), (5, 2)])
def test_any_number_of_images_is_run(
    request_: ServingRequest,
    api: ModuleType,
    engine: bytes,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    batch: int,
) -> None:
    keep(request_, engine)
    monkeypatch.setattr(api.Runtime, 'batch', batch)
    pipeline = tensorrt_backend.load(request_)
    assert pipeline.status == Status('tensorrt', 'cpu', 'fp16', 2, 'serving')
    session = onnxruntime.InferenceSession(engine, providers=['CPUExecutionProvider'])
    pixels = np.random.default_rng(count).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)
    expected = np.concatenate([session.run(None, {'pixels': p[None]})[0] for p in pixels])
    logits = pipeline.logits(pixels)
    assert (logits.dtype, logits.shape) == (np.float32, (count, 8, 16, 11))
    assert np.allclose(logits, expected, atol=1e-5)
    api.Context.ran.clear()
    labels = [one.labels for one in pipeline.segment([Image(p) for p in 255 - pixels[::-1]])]
    # an open batch is no larger than needed
    assert (1 in api.Context.ran) == (batch == -1 and count != 2)
    assert np.allclose(logits, expected, atol=1e-5), 'a result changed with the next one'
    planes = torch.from_numpy(pipeline.logits(255 - pixels[::-1])).permute(0, 3, 1, 2)
    full = functional.interpolate(planes, (HEIGHT, WIDTH), mode='bilinear')
    assert np.mean(np.stack(labels) == full.argmax(1).numpy()) > 0.999


def test_what_an_engine_does_not_take_or_start_is_named(
    api: ModuleType, engine: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Engine(api, engine, 1, 'cpu')
    for pixels in (
        torch.zeros(2, 64, 128, 3).byte(),
        torch.zeros(1, 32, 128, 3).byte(),
        torch.zeros(1, 64, 128, 3),
    ):
        with pytest.raises(BackendError, match=r'takes uint8 \(1, 64, 128, 3\)'):
            network(pixels)
    monkeypatch.setattr(api.Context, 'execute_async_v3', lambda *_: False)
    with pytest.raises(BackendError, match='cannot run the engine: it gives no reason'):
        network(torch.zeros(1, HEIGHT, WIDTH, 3, dtype=torch.uint8))


def test_a_refused_engine_is_built_again_once(
    request_: ServingRequest,
    engine: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    contents = iter([engine, b'refused'])

    class Build:
        def __init__(self, request: ServingRequest) -> None:
            keep(request, next(contents))

        def wait(self) -> None:
            pass

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(tensorrt_backend, 'EngineBuild', Build)
    cached = keep(request_, b'refused')
    assert tensorrt_backend.load(request_).status.backend == 'tensorrt'
    (warning,) = caplog.records
    assert 'tensorrt 11.4.0 cannot load the engine: made for another GPU' in warning.getMessage()
    keep(request_, b'refused')
    with pytest.raises(UnloadableEngineError):
        tensorrt_backend.load(request_)
    assert cached.read() is None, 'it would be refused again'


def test_an_engine_that_finds_no_room_stays_in_the_cache(request_: ServingRequest) -> None:
    cached = keep(request_, b'no room')
    with pytest.raises(DeviceMemoryError, match=r'cannot load the engine: .*OutOfMemory'):
        tensorrt_backend.load(request_)
    assert cached.read() == b'no room'


def test_the_next_start_does_without_an_engine_that_lost_the_context(
    request_: ServingRequest, engine: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = keep(request_, engine)
    pipeline = tensorrt_backend.load(request_)

    def lose(*_: Any) -> None:
        msg = 'GPU context lost: an illegal memory access'
        raise GpuContextLostError(msg)

    with monkeypatch.context() as lost:
        lost.setattr(pipeline_module, 'guarded', lose)
        with pytest.raises(GpuContextLostError):
            pipeline.segment([Image(np.zeros((64, 128, 3), np.uint8))])
    refusal = r'refused \(.*an illegal memory access\): delete .*\.refused to try'
    with pytest.raises(RefusedEngineError, match=refusal):
        tensorrt_backend.load(request_)
    cached.path.with_suffix('.refused').unlink()
    assert tensorrt_backend.load(request_).status.engine == 'serving'


@pytest.mark.parametrize(
    ('change', 'share'), [(0.0, ''), (1e9, r'\d+\.\d+%'), (float('nan'), '0.0%')]
)
def test_a_new_engine_is_tried_on_a_real_street(
    api: ModuleType, engine: bytes, change: float, share: str
) -> None:
    model = onnx.load_from_string(engine)
    (bias,) = (t for t in model.graph.initializer if t.name.endswith('classifier.bias'))
    values = onnx.numpy_helper.to_array(bias).copy()
    values[3] += change
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    changed, shape = model.SerializeToString(), (2, HEIGHT, WIDTH)
    if not share:
        try_engine(api, changed, engine, shape, 'cpu')
        return
    with pytest.raises(EngineRejectedError, match=f'only {share} of its labels of a street'):
        try_engine(api, changed, engine, shape, 'cpu')


@pytest.mark.skipif(torch.cuda.is_available(), reason='torch has CUDA here')
def test_a_torch_without_cuda_is_named(request_: ServingRequest) -> None:
    with pytest.raises(BackendError, match=r'needs a torch that can use the GPU, .* for your CUDA'):
        tensorrt_backend.load(request_)
