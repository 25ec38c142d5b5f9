from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lemore_core import inference as backends
from lemore_core.inference import Backend, ServingRequest, Status, registry, torch_backend
from lemore_core.inference.backend import BackendError, DeviceMemoryError, RefusedEngineError
from lemore_core.inference.gpu.device import Gpu
from lemore_core.inference.tensorrt import backend as tensorrt_backend
from lemore_core.inference.tensorrt import cache as tensorrt_cache

Load = Callable[[ServingRequest], Backend]


@pytest.fixture
def request_of(untrained_checkpoint: Path) -> Callable[..., ServingRequest]:
    return lambda **options: ServingRequest(untrained_checkpoint, 96, 128, **options)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A GPU with TensorRT; the list gets what loads, and each serves on the CPU in truth."""
    loaded: list[str] = []
    real = torch_backend.load

    def load(name: str) -> Load:
        def serve(request: ServingRequest) -> Backend:
            loaded.append(name)
            backend = real(ServingRequest(request.path, *request.size, device='cpu'))
            backend._status = Status(name, 'cuda:0', 'fp16', degraded=request.degraded)
            return backend

        return serve

    monkeypatch.setattr(registry, 'gpus', lambda: (Gpu('cuda:0', 'GPU', '8.6', '580'),))
    monkeypatch.setattr(registry, 'missing', lambda _: '')
    monkeypatch.setattr(torch_backend, 'load', load('torch'))
    monkeypatch.setattr(tensorrt_backend, 'load', load('tensorrt'))
    return loaded


@pytest.mark.usefixtures('gpu')
@pytest.mark.parametrize(
    ('is_built', 'waits', 'expected'),
    [(True, False, 'tensorrt'), (False, False, 'torch'), (False, True, 'tensorrt')],
)
def test_auto_takes_the_engine_that_is_built(
    request_of: Callable[..., ServingRequest],
    monkeypatch: pytest.MonkeyPatch,
    is_built: bool,
    waits: bool,
    expected: str,
) -> None:
    found = SimpleNamespace(is_built=is_built)
    monkeypatch.setattr(tensorrt_cache, 'locate_engine', lambda _: found)
    backend = backends.load('auto', request_of(), wait_for_engine=waits)
    assert (backend.status.backend, backend.status.degraded) == (expected, '')


@pytest.mark.parametrize(
    ('name', 'error'),
    [
        ('auto', BackendError('the process was ended by SIGKILL')),
        ('auto', DeviceMemoryError('no memory for an engine')),
        ('auto', RefusedEngineError('the engine is refused')),
        ('tensorrt', RefusedEngineError('the engine is refused')),
        ('tensorrt', BackendError('cannot parse the network')),
    ],
)
def test_pytorch_serves_where_the_engine_cannot(
    request_of: Callable[..., ServingRequest],
    monkeypatch: pytest.MonkeyPatch,
    gpu: list[str],
    name: str,
    error: BackendError,
) -> None:
    def fail(_: ServingRequest) -> Backend:
        raise error

    monkeypatch.setattr(tensorrt_cache, 'locate_engine', lambda _: SimpleNamespace(is_built=True))
    monkeypatch.setattr(tensorrt_backend, 'load', fail)
    if name == 'tensorrt' and type(error) is BackendError:
        with pytest.raises(BackendError, match=str(error)):
            backends.load(name, request_of())
        return
    status = backends.load(name, request_of()).status
    assert gpu == ['torch']
    assert status.degraded == f'torch because {error}'


def test_the_cpu_serves_what_fits_no_gpu(
    request_of: Callable[..., ServingRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: ServingRequest) -> Backend:
        msg = 'no room for one image'
        raise DeviceMemoryError(msg)

    monkeypatch.setattr(torch_backend, 'load', full)
    backend = backends.load('torch', request_of(device='cuda', precision='fp16'))
    assert (backend.status.backend, backend.status.device) == ('onnxruntime', 'cpu')
    assert backend.status.degraded == 'the CPU because no room for one image'
    pixels = np.random.default_rng(0).integers(0, 256, (1, 96, 128, 3), np.uint8)
    expected = backends.load('onnxruntime', request_of())
    assert np.array_equal(backend.logits(pixels), expected.logits(pixels))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'precision': 'int8'}, "precision is 'int8', allowed: one of auto, fp32, fp16"),
        ({'batch': 0}, 'batch is 0, allowed: an integer from 1 to 64'),
        ({'batch': 65}, 'batch is 65'),
        ({'path': Path('a.onnx'), 'precision': 'fp16'}, 'a.onnx is served in the precision'),
    ],
)
def test_what_cannot_be_requested_is_named(options: dict[str, object], message: str) -> None:
    values = {'path': Path('a.safetensors'), 'height': 128, 'width': 128, **options}
    with pytest.raises(BackendError, match=message):
        ServingRequest(**values)  # type: ignore[arg-type]


def test_a_missing_package_is_named(
    request_of: Callable[..., ServingRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.importlib.util, 'find_spec', lambda _: None)
    with pytest.raises(BackendError, match=r'the package tensorrt, .*: pip install tensorrt$'):
        backends.load('tensorrt', request_of())
    monkeypatch.setattr('platform.release', lambda: '5.15.148-tegra')
    with pytest.raises(BackendError, match='apt install python3-libnvinfer'):
        backends.load('tensorrt', request_of())
    assert 'wheel of your JetPack' in tensorrt_backend.how_to_install('torch')
