"""What runs of the TensorRT backend without a GPU: its choices, its errors, and its buffers.

Execution stands on test/gpu; here ONNX Runtime takes the place of an engine.
"""

from __future__ import annotations

import ctypes
import dataclasses
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lemore_core import inference as backends
from lemore_core.common.errors import GpuContextLostError
from lemore_core.export.errors import PrecisionError
from lemore_core.export.export import export_onnx
from lemore_core.images.image import Image, to_network
from lemore_core.inference.backend import (
    FP32,
    BackendError,
    DeviceMemoryError,
    ServingRequest,
    Status,
)
from lemore_core.inference.cpu.decode import decode
from lemore_core.inference.gpu import device as gpu
from lemore_core.inference.gpu.pipeline import GpuPipeline
from lemore_core.inference.tensorrt import backend as tensorrt_backend
from lemore_core.inference.tensorrt import trial
from lemore_core.inference.tensorrt.backend import Engine, EngineRefusedError
from lemore_core.inference.tensorrt.build_process import BuildRequest, Target
from lemore_core.inference.tensorrt.engine_cache import EngineCache, EngineKey
from lemore_core.inference.tensorrt.libraries import (
    TENSORRT,
    TENSORRT_RTX,
    ComputeCapability,
    Library,
)

HEIGHT, WIDTH = 64, 128


class FakeContext:
    """Runs the ONNX file that serves as an engine, from and to the addresses that it is given."""

    def __init__(self, content: bytes, config: FakeConfig | None = None) -> None:
        self.cache = None if config is None else config.cache
        session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
        self.session = session
        self.addresses: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.runs = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        self.shapes[name] = shape
        n, height, width, _ = shape
        self.shapes['logits'] = (n, height // 8, width // 8, 11)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 7
        self.runs += 1
        if self.cache is not None:
            self.cache.kernels = self.cache.kernels or b'580 compiled'
        pixels = self._view('pixels', ctypes.c_uint8)
        logits = [self.session.run(None, {'pixels': image[None]})[0] for image in pixels]
        self._view('logits', ctypes.c_float)[:] = np.concatenate(logits)
        return True

    def _view(self, name: str, kind: Any) -> Any:
        pointer = ctypes.cast(self.addresses[name], ctypes.POINTER(kind))
        return np.ctypeslib.as_array(pointer, self.shapes[name])


class FakeCache:
    """IRuntimeCache: it takes bytes only of its own environment, and says whether it did."""

    def __init__(self) -> None:
        self.kernels = b''

    def deserialize(self, blob: bytes) -> bool:
        if not blob.startswith(b'580 '):
            return False
        self.kernels = bytes(blob)
        return True

    def serialize(self) -> memoryview:
        return memoryview(self.kernels)


class FakeConfig:
    """IRuntimeConfig; https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/."""

    def create_runtime_cache(self) -> FakeCache:
        return FakeCache()

    def set_runtime_cache(self, cache: FakeCache) -> bool:
        self.cache = cache
        return True


class FakeRuntime:
    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, content: bytes) -> SimpleNamespace | None:
        if content == b'refused':
            self.logger.log('error', 'made for\nanother GPU')
            return None
        if content == b'no room':
            # in TensorRT's words for ErrorCode.kOUT_OF_MEMORY
            self.logger.log('error', 'Error Code 2: OutOfMemory (no further information)')
            return None
        return SimpleNamespace(
            get_tensor_shape=lambda _: (1, HEIGHT, WIDTH, 3),
            create_runtime_config=FakeConfig,
            create_execution_context=lambda config=None: FakeContext(content, config),
        )


class FakeLogger:
    Severity = SimpleNamespace(INTERNAL_ERROR='fatal', ERROR='error', INFO='info', VERBOSE='v')


@pytest.fixture
def library() -> Library:
    api = ModuleType('tensorrt')
    vars(api).update(__version__='11.4.0', Runtime=FakeRuntime, ILogger=FakeLogger)
    return Library(TENSORRT, api)


@pytest.fixture(scope='module')
def engine(untrained_checkpoint: Path) -> bytes:
    return export_onnx(untrained_checkpoint, HEIGHT, WIDTH)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an engine that is told to run on the CPU find a stream."""
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda: SimpleNamespace(cuda_stream=7))
    monkeypatch.setattr(torch.cuda, 'device', lambda _: nullcontext())


def pipeline_of(network: Engine, batch: int) -> GpuPipeline:
    return GpuPipeline(network, (HEIGHT, WIDTH), Status('tensorrt', 'cpu', FP32, batch))


@pytest.mark.usefixtures('cuda')
@pytest.mark.parametrize('count', [1, 2, 3, 4, 5])
def test_any_number_of_images_is_run(library: Library, engine: bytes, count: int) -> None:
    network = Engine(library, engine, 2, 'cpu')
    pipeline = pipeline_of(network, 2)
    session = onnxruntime.InferenceSession(engine, providers=['CPUExecutionProvider'])
    pixels = np.random.default_rng(count).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)
    expected = np.concatenate([session.run(None, {'pixels': p[None]})[0] for p in pixels])
    before = network._context.runs
    logits = pipeline.logits(pixels)
    assert network._context.runs - before == -(-count // 2)
    assert (logits.dtype, logits.shape) == (np.float32, (count, 8, 16, 11))
    assert logits.flags.c_contiguous
    assert np.allclose(logits, expected, atol=1e-5)
    kept = logits.copy()
    pipeline.logits(255 - pixels)
    assert np.array_equal(logits, kept), 'a result changed with the next one'


@pytest.mark.usefixtures('cuda')
def test_images_are_labelled(library: Library, engine: bytes) -> None:
    pipeline = pipeline_of(Engine(library, engine, 2, 'cpu'), 2)
    random = np.random.default_rng(0)
    sizes = [(100, 200), (100, 200), (64, 128), (100, 200)]
    images = [Image(random.integers(0, 256, (*size, 3), np.uint8), 'bgr8') for size in sizes]
    for image, found in zip(images, pipeline.segment(images), strict=True):
        pixels = to_network(image.pixels, image.encoding, HEIGHT, WIDTH)
        labels, _ = decode(pipeline.logits(pixels[None])[0], *image.pixels.shape[:2])
        assert np.mean(found.labels == labels) > 0.999


@pytest.mark.usefixtures('cuda')
def test_pixels_of_another_size_or_type_are_refused(library: Library, engine: bytes) -> None:
    network = Engine(library, engine, 1, 'cpu')
    for pixels in (torch.zeros(1, 32, 128, 3, dtype=torch.uint8), torch.zeros(1, 64, 128, 3)):
        with pytest.raises(BackendError, match=r'takes uint8 \(1, 64, 128, 3\)'):
            network(pixels)


@pytest.mark.usefixtures('cuda')
def test_an_engine_that_does_not_start_says_why(
    library: Library, engine: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Engine(library, engine, 1, 'cpu')
    pipeline = pipeline_of(network, 1)
    pixels = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    with monkeypatch.context() as patch:
        patch.setattr(network._context, 'execute_async_v3', lambda _: False)
        network._logger.log('error', 'an illegal instruction')
        with pytest.raises(BackendError, match='cannot run the engine: an illegal instruction'):
            pipeline.logits(pixels)
    assert pipeline.logits(pixels).shape == (1, 8, 16, 11)


@pytest.mark.usefixtures('cuda')
def test_no_room_for_an_engine_is_told(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], 'FakeContext', lambda *_: None)
    with pytest.raises(DeviceMemoryError, match='cpu has no memory left for an engine of batch 4'):
        Engine(library, b'engine', 4, 'cpu')


@pytest.mark.usefixtures('cuda')
def test_an_engine_that_finds_no_room_is_not_refused(library: Library) -> None:
    with pytest.raises(DeviceMemoryError, match=r'cannot load the engine: .*OutOfMemory'):
        Engine(library, b'no room', 1, 'cpu')


KEY = EngineKey('0', 'tensorrt', '11', 'GPU', '8.6', '580', 'fp16', HEIGHT, WIDTH, 2)


@pytest.fixture
def cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: Library, engine: bytes
) -> EngineCache:
    """A cache with an engine for the GPU here, which is the CPU, and its libraries."""
    found = SimpleNamespace(
        name='NVIDIA RTX A2000', capability=ComputeCapability(8, 6), driver='580', device='cpu'
    )
    monkeypatch.setattr(tensorrt_backend, 'find_gpu', lambda _: found)
    monkeypatch.setattr(gpu, 'find_gpu', lambda _: found)
    monkeypatch.setattr(tensorrt_backend, 'library_for_gpu', lambda _: library)
    cache = EngineCache(tmp_path)
    cache.get_or_build(KEY, lambda: engine)
    return cache


def request_in(cache: EngineCache) -> ServingRequest:
    path = Path('not read.safetensors')
    return ServingRequest(path, HEIGHT, WIDTH, batch=3, engine_cache=cache.folder)


@pytest.mark.usefixtures('cuda')
def test_an_engine_is_loaded_for_as_many_images_as_it_takes(cache: EngineCache) -> None:
    pipeline = tensorrt_backend.load_engine(request_in(cache), KEY)
    assert pipeline.status == Status('tensorrt', 'cpu', 'fp16', 2)
    assert pipeline.logits(np.zeros((3, HEIGHT, WIDTH, 3), np.uint8)).shape == (3, 8, 16, 11)
    assert cache.read_kernels(KEY) == b'', 'TensorRT compiled them with the engine'
    with pytest.raises(BackendError, match=r'there is no engine .*: the next start builds it'):
        tensorrt_backend.load_engine(request_in(cache), dataclasses.replace(KEY, batch=4))


@pytest.mark.usefixtures('cuda')
@pytest.mark.parametrize('kept', [b'', b'570 of another driver', b'580 kept'])
def test_what_tensorrt_for_rtx_compiles_is_kept(
    cache: EngineCache, library: Library, monkeypatch: pytest.MonkeyPatch, kept: bytes
) -> None:
    rtx = Library(TENSORRT_RTX, library.api)
    monkeypatch.setattr(tensorrt_backend, 'library_for_gpu', lambda _: rtx)
    cache.keep_kernels(KEY, kept)
    tensorrt_backend.load_engine(request_in(cache), KEY)
    expected = kept if kept.startswith(b'580') else b'580 compiled'
    assert cache.read_kernels(KEY) == expected


@pytest.mark.usefixtures('cuda')
def test_a_refused_engine_is_built_again_once(
    cache: EngineCache,
    monkeypatch: pytest.MonkeyPatch,
    engine: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    contents = [b'refused', engine, b'refused', b'refused']
    orders: list[BuildRequest] = []

    def build(order: BuildRequest) -> EngineKey:
        orders.append(order)
        cache.get_or_build(KEY, lambda: contents[len(orders) - 1])
        return KEY

    monkeypatch.setattr(tensorrt_backend, 'build_engine', build)
    cache.discard(KEY)
    request = request_in(cache)
    assert tensorrt_backend.load(request).status.backend == 'tensorrt'
    (warning,) = caplog.records
    assert 'tensorrt 11.4.0 cannot load the engine: made for another GPU' in warning.getMessage()
    here = Target('8.6', 'cpu', 'NVIDIA RTX A2000', '580')
    assert orders == [BuildRequest(request, here, low_priority=False)] * 2
    cache.discard(KEY)
    with pytest.raises(EngineRefusedError):
        tensorrt_backend.load(request)
    assert cache.read(KEY) is None, 'it would be refused again'


@pytest.mark.usefixtures('cuda')
def test_an_engine_that_lost_the_context_is_not_what_the_next_start_serves(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch, untrained_checkpoint: Path
) -> None:
    pytest.importorskip('tensorrt_rtx', reason='pip install tensorrt-rtx-cu13')

    def lose(*_: object) -> None:
        msg = 'GPU context lost: an illegal memory access'
        raise GpuContextLostError(msg)

    def build(_: BuildRequest) -> EngineKey:
        cache.get_or_build(KEY, lambda: pytest.fail('it is there'))
        return KEY

    monkeypatch.setattr(tensorrt_backend, 'build_engine', build)
    request = dataclasses.replace(request_in(cache), path=untrained_checkpoint, device='cpu')
    backend = backends.load('tensorrt', request)
    assert backend.status.backend == 'tensorrt'
    with monkeypatch.context() as lost:
        lost.setattr(GpuPipeline, 'segment', lose)
        with pytest.raises(GpuContextLostError):
            backend.segment([])
    again = backends.load('tensorrt', request)
    assert again.status.backend == 'onnxruntime'
    assert again.status.degraded.startswith(
        'onnxruntime because the engine is in quarantine (GPU context lost: an illegal memory'
    )


def test_numbers_that_half_precision_does_not_hold_are_served_in_single(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def load_built(request: ServingRequest) -> None:
        asked.append(request.precision)
        if request.gpu_precision == 'fp16':
            msg = 'head.weight holds 1e+06, too large for fp16: use fp32'
            raise PrecisionError(msg)

    monkeypatch.setattr(tensorrt_backend, '_load_built', load_built)
    tensorrt_backend.load(request_in(cache))
    assert asked == ['auto', 'fp32']
    with pytest.raises(PrecisionError):
        tensorrt_backend.load(dataclasses.replace(request_in(cache), precision='fp16'))


@pytest.mark.usefixtures('cuda')
def test_an_engine_that_finds_no_room_stays_in_the_cache(cache: EngineCache) -> None:
    cache.discard(KEY)
    cache.get_or_build(KEY, lambda: b'no room')
    with pytest.raises(DeviceMemoryError):
        tensorrt_backend.load_engine(request_in(cache), KEY)
    assert cache.read(KEY) == b'no room'


@pytest.mark.usefixtures('cuda')
@pytest.mark.parametrize(
    ('change', 'share'), [(0.0, ''), (1e9, r'\d+\.\d+%'), (float('nan'), '0.0%')]
)
def test_a_new_engine_is_tried_on_a_real_street(
    library: Library, engine: bytes, change: float, share: str
) -> None:
    model = onnx.load_from_string(engine)
    (bias,) = (t for t in model.graph.initializer if t.name.endswith('classifier.bias'))
    values = onnx.numpy_helper.to_array(bias).copy()
    values[3] += change
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    changed = model.SerializeToString()
    if not share:
        trial.try_engine(library, changed, engine, KEY, 'cpu')
        return
    with pytest.raises(trial.EngineRejectedError, match=f'only {share} of its labels of a street'):
        trial.try_engine(library, changed, engine, KEY, 'cpu')
