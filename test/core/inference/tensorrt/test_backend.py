"""What runs of the TensorRT backend without a GPU: its choices, its errors, and its buffers.

Execution stands on test/gpu; here ONNX Runtime takes the place of an engine.
"""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.util
import sys
from collections.abc import Callable
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
from lemore_core.export.export import export_onnx
from lemore_core.image import Image, to_network
from lemore_core.inference.backend import (
    FP32,
    BackendError,
    DeviceMemoryError,
    ServingRequest,
    Status,
)
from lemore_core.inference.cpu.decode import decode
from lemore_core.inference.gpu import device as gpu
from lemore_core.inference.gpu.device import Gpu, find_gpu
from lemore_core.inference.gpu.pipeline import GpuPipeline
from lemore_core.inference.registry import how_to_install
from lemore_core.inference.tensorrt import backend as tensorrt_backend
from lemore_core.inference.tensorrt import libraries, trial
from lemore_core.inference.tensorrt.backend import Engine, EngineRefusedError
from lemore_core.inference.tensorrt.build_process import BuildRequest, Target
from lemore_core.inference.tensorrt.engine_cache import EngineCache, EngineKey
from lemore_core.inference.tensorrt.libraries import (
    TENSORRT,
    TENSORRT_RTX,
    ComputeCapability,
    Library,
    installed_libraries,
    library_for_capability,
    library_for_gpu,
    load_library,
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


@pytest.mark.parametrize('device', ['cpu', 'cuda:x', 'warp'])
def test_a_device_that_is_no_gpu_is_named(device: str) -> None:
    with pytest.raises(BackendError, match=f'not on device {device!r}: use auto, cuda or cuda:N'):
        find_gpu(device)


@pytest.mark.skipif(torch.version.cuda is not None, reason='torch has CUDA here')
def test_a_torch_without_cuda_is_named(untrained_checkpoint: Path) -> None:
    pytest.importorskip('tensorrt_rtx', reason='pip install tensorrt-rtx-cu13')
    with pytest.raises(BackendError, match=r'torch with CUDA .* has none: .*pytorch\.org'):
        backends.load('tensorrt', ServingRequest(untrained_checkpoint, HEIGHT, WIDTH))


def test_an_absent_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(BackendError, match='needs an NVIDIA GPU and its driver, torch finds none'):
        find_gpu('auto')


@pytest.mark.parametrize(('device', 'index'), [('auto', 0), ('cuda', 0), ('cuda:1', 1)])
def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch, device: str, index: int) -> None:
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    described = [
        SimpleNamespace(name='GPU', major=8, minor=6 + i, multi_processor_count=26 + i)
        for i in range(2)
    ]
    monkeypatch.setattr(torch.cuda, 'get_device_properties', described.__getitem__)
    monkeypatch.setattr(gpu, 'driver_version', lambda: '580.65')
    capability = ComputeCapability(8, 6 + index)
    assert find_gpu(device) == Gpu(index, f'GPU ({26 + index} SMs)', capability, '580.65')
    assert find_gpu(device).device == f'cuda:{index}'
    with pytest.raises(BackendError, match='the GPUs here are cuda:0 to cuda:1'):
        find_gpu('cuda:2')


@pytest.mark.parametrize(
    ('content', 'version'),
    [
        ('NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22', '550.54.14'),
        (
            'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release',
            '580.65.06',
        ),
    ],
)
def test_the_driver_says_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, version: str
) -> None:
    path = tmp_path / 'version'
    path.write_text(content)
    monkeypatch.setattr(gpu, '_KERNEL_MODULE', path)
    assert gpu.driver_version() == version


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that says which packages are there, by module and version."""

    def install(**versions: str) -> None:
        names = ('NONE', 'CURRENT', 'SM75', 'SM86', 'SM120')
        capabilities = SimpleNamespace(__members__=dict.fromkeys(names))

        def import_module(name: str) -> SimpleNamespace:
            if versions[name] == 'broken':
                msg = 'libnvinfer.so.11: cannot open shared object file'
                raise ImportError(msg)
            return SimpleNamespace(__version__=versions[name], ComputeCapability=capabilities)

        find = importlib.util.find_spec
        fake = ('tensorrt', 'tensorrt_rtx')
        monkeypatch.setattr(
            importlib.util,
            'find_spec',
            lambda name: (name in versions or None) if name in fake else find(name),
        )
        modules = SimpleNamespace(import_module=import_module, util=importlib.util)
        monkeypatch.setattr(libraries, 'importlib', modules)

    return install


@pytest.mark.parametrize(
    ('versions', 'capability', 'package'),
    [
        ({'tensorrt': '11.4.0', 'tensorrt_rtx': '1.7.1'}, '8.6', 'tensorrt'),
        ({'tensorrt': '10.3.0'}, '8.7', 'tensorrt'),
        ({'tensorrt_rtx': '1.7.1'}, '8.6', 'tensorrt_rtx'),
        ({'tensorrt': 'broken', 'tensorrt_rtx': '1.7.1'}, '12.0', 'tensorrt_rtx'),
        ({'tensorrt': '8.6.1', 'tensorrt_rtx': '1.7.1'}, '7.5', 'tensorrt_rtx'),
    ],
)
def test_the_library_is_what_runs_on_the_gpu(
    installed: Callable[..., None], versions: dict[str, str], capability: str, package: str
) -> None:
    installed(**versions)
    library = library_for_gpu(ComputeCapability.parse(capability))
    assert (library.module, library.version) == (package, versions[package])


@pytest.mark.parametrize(
    ('versions', 'message'),
    [
        ({}, 'tensorrt is not installed: .*; tensorrt-rtx-cu13 is not installed: pip install'),
        (
            {'tensorrt': 'broken'},
            'cannot be imported .libnvinfer.*do it again: pip install tensorrt',
        ),
        ({'tensorrt': '8.6.1'}, '8.6.1 is too old, 10 or newer is needed'),
        (
            {'tensorrt_rtx': '1.7.1'},
            r'compute capabilities 7\.5, 8\.6, 12\.0, not 9\.0: .*tensorrt',
        ),
    ],
)
def test_what_is_missing_is_named(
    installed: Callable[..., None], versions: dict[str, str], message: str
) -> None:
    installed(**versions)
    with pytest.raises(BackendError, match=message):
        library_for_gpu(ComputeCapability(9, 0))


def test_building_ahead_needs_the_one_for_rtx(installed: Callable[..., None]) -> None:
    installed(tensorrt='11.4.0')
    with pytest.raises(BackendError, match='pip install tensorrt-rtx-cu13'):
        library_for_capability(ComputeCapability(8, 6))
    with pytest.raises(BackendError, match='pip install tensorrt-rtx-cu13'):
        load_library(libraries.TENSORRT_RTX)
    assert [library.version for library in installed_libraries()] == ['11.4.0']


def test_the_registry_names_the_packages(
    installed: Callable[..., None], untrained_checkpoint: Path
) -> None:
    installed()
    message = 'needs the package tensorrt or tensorrt-rtx-cu13: pip install tensorrt$'
    with pytest.raises(BackendError, match=message):
        backends.load('tensorrt', ServingRequest(untrained_checkpoint, HEIGHT, WIDTH))


@pytest.mark.parametrize('kernel', ['5.15.148-tegra', '6.8.12-tegra'])
def test_on_a_jetson_tensorrt_comes_from_apt(
    installed: Callable[..., None],
    untrained_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    kernel: str,
) -> None:
    installed()
    monkeypatch.setattr('platform.release', lambda: kernel)
    advice = r'sudo apt install python3-libnvinfer, .* --system-site-packages'
    with pytest.raises(BackendError, match=advice):
        library_for_gpu(ComputeCapability(8, 7))
    with pytest.raises(BackendError, match=advice):
        backends.load('tensorrt', ServingRequest(untrained_checkpoint, HEIGHT, WIDTH))
    assert 'wheel of your JetPack' in how_to_install('torch')
    assert how_to_install('onnx') == 'pip install onnx'


@pytest.mark.parametrize(('text', 'expected'), [('8.6', (8, 6)), ('86', (8, 6)), ('120', (12, 0))])
def test_a_capability_is_read(text: str, expected: tuple[int, int]) -> None:
    assert ComputeCapability.parse(text) == expected
    assert str(ComputeCapability.parse(text)) == f'{expected[0]}.{expected[1]}'


@pytest.mark.parametrize('text', ['', '8', 'sm_86', '8.6.1', '8,6', '-8.6', '8.66'])
def test_what_is_no_capability_is_named(text: str) -> None:
    with pytest.raises(BackendError, match='is no compute capability: give one such as 8'):
        ComputeCapability.parse(text)
