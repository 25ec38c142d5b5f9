"""The TensorRT backend on a GPU; skipped where there is none, or no TensorRT for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lemore_core.backends import engines, tensorrt_backend
from lemore_core.backends.backend import BackendError
from lemore_core.backends.engine_cache import EngineCache
from lemore_core.deploy.export import write_onnx
from lemore_core.segmenter import Segmenter, resolve_checkpoint

if not torch.cuda.is_available():
    pytest.skip('no CUDA device is here', allow_module_level=True)

from lemore_core.backends.gpu import find_gpu
from lemore_core.backends.tensorrt_flavours import library_for_gpu

try:
    library_for_gpu(find_gpu('cuda').capability)
except BackendError as error:
    pytest.skip(str(error), allow_module_level=True)

SIZE = (320, 576)
Frames = list[NDArray[np.uint8]]


@pytest.fixture(scope='module')
def cache(tmp_path_factory: pytest.TempPathFactory) -> EngineCache:
    return EngineCache(tmp_path_factory.mktemp('engines'))


@pytest.fixture(scope='module')
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3), np.uint8)


@pytest.fixture(scope='module')
def reference(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    from lemore_core.backends import torch_backend

    return torch_backend.load(resolve_checkpoint('tiny'), *SIZE, 'cpu').run(pixels)


@pytest.mark.parametrize(('precision', 'tolerance'), [('fp32', 0.01), ('fp16', 0.03)])
@pytest.mark.parametrize('batch', [1, 3])
def test_logits_are_those_of_the_cpu(
    cache: EngineCache,
    pixels: NDArray[np.uint8],
    reference: NDArray[np.float32],
    precision: str,
    tolerance: float,
    batch: int,
) -> None:
    path = resolve_checkpoint('tiny')
    backend = tensorrt_backend.load(
        path, *SIZE, 'cuda', precision=precision, batch=batch, cache=cache
    )
    assert backend.device == 'cuda:0'
    logits = backend.run(pixels)
    assert (logits.shape, logits.dtype) == (reference.shape, np.float32)
    assert np.abs(logits - reference).max() < tolerance * np.abs(reference).max()
    assert np.array_equal(backend.run(pixels), logits)
    assert backend._graph is not None, 'the engine was not captured'


def test_the_engine_is_built_once(
    cache: EngineCache, pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = resolve_checkpoint('nano')
    first = tensorrt_backend.load(path, *SIZE, 'cuda', cache=cache).run(pixels)

    def never(*_: object) -> None:
        pytest.fail('it was built again')

    monkeypatch.setattr(engines, 'build', never)
    again = tensorrt_backend.load(path, *SIZE, 'cuda', cache=cache).run(pixels)
    assert np.array_equal(first, again)


def test_a_damaged_engine_is_built_again(cache: EngineCache, pixels: NDArray[np.uint8]) -> None:
    path = resolve_checkpoint('nano')
    expected = tensorrt_backend.load(path, *SIZE, 'cuda', cache=cache).run(pixels)
    for record in cache.records():
        record.path.write_bytes(record.path.read_bytes()[:-100])
    logits = tensorrt_backend.load(path, *SIZE, 'cuda', cache=cache).run(pixels)
    assert np.allclose(logits, expected, atol=0.05 * np.abs(expected).max())


def test_labels_are_those_of_the_cpu(
    clip_frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    path = resolve_checkpoint('tiny')
    exported = tmp_path / 'model.onnx'
    write_onnx(path, exported, *SIZE)
    cpu = Segmenter.load(path, backend='torch', device='cpu')
    for served in (path, exported):
        gpu = Segmenter.load(served, backend='tensorrt')
        assert gpu.device == 'cuda:0'
        same = [
            gpu.segment(frame, 'bgr8').labels == cpu.segment(frame, 'bgr8').labels
            for frame in clip_frames
        ]
        assert np.mean(same) >= 0.99
