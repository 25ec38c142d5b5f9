"""The TensorRT backend on a GPU; skipped where there is none, or no TensorRT for it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip('safetensors', reason='pip install -e .')

from lemore_core.export.export import export_onnx
from lemore_core.images.image import Image
from lemore_core.inference import torch_backend
from lemore_core.inference.backend import BackendError, ServingRequest, Status
from lemore_core.inference.gpu.pipeline import GpuPipeline
from lemore_core.inference.tensorrt import backend as tensorrt_backend
from lemore_core.inference.tensorrt.builder import load_tensorrt
from lemore_core.segmenter import Segmenter, resolve_checkpoint

if not torch.cuda.is_available():
    pytest.skip('no CUDA device is here', allow_module_level=True)


try:
    load_tensorrt()
except BackendError as error:
    pytest.skip(str(error), allow_module_level=True)

SIZE = (320, 576)
Frames = list[NDArray[np.uint8]]


@pytest.fixture(scope='module')
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3), np.uint8)


@pytest.fixture(scope='module')
def reference(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    request = ServingRequest(resolve_checkpoint('tiny'), *SIZE, device='cpu')
    return torch_backend.load(request).logits(pixels)


def load(batch: int, precision: str = 'auto') -> GpuPipeline:
    options = {'device': 'cuda', 'precision': precision, 'batch': batch}
    return tensorrt_backend.load(ServingRequest(resolve_checkpoint('tiny'), *SIZE, **options))


@pytest.mark.parametrize(('precision', 'tolerance'), [('fp32', 0.01), ('fp16', 0.03)])
@pytest.mark.parametrize('batch', [1, 3])
def test_logits_are_those_of_the_cpu(
    pixels: NDArray[np.uint8],
    reference: NDArray[np.float32],
    precision: str,
    tolerance: float,
    batch: int,
) -> None:
    pipeline = load(batch, precision)
    assert pipeline.status == Status('tensorrt', 'cuda:0', precision, batch, 'serving')
    logits = pipeline.logits(pixels)
    assert (logits.shape, logits.dtype) == (reference.shape, np.float32)
    assert np.abs(logits - reference).max() < tolerance * np.abs(reference).max()
    assert np.array_equal(pipeline.logits(pixels), logits)


def test_an_engine_is_captured(pixels: NDArray[np.uint8], caplog: pytest.LogCaptureFixture) -> None:
    pipeline = load(2)
    images = [Image(image, 'rgb8') for image in pixels]
    with caplog.at_level(logging.INFO):
        found = pipeline.segment(images)
    assert not [r for r in caplog.records if 'no CUDA graph' in r.getMessage()]
    for image, one in zip(images, found, strict=True):
        (alone,) = pipeline.segment([image])
        assert np.array_equal(alone.labels, one.labels)


def test_labels_are_those_of_the_cpu(
    clip_frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    path = resolve_checkpoint('tiny')
    exported = tmp_path / 'model.onnx'
    exported.write_bytes(export_onnx(path, *SIZE))
    cpu = Segmenter.load(path, backend='torch', device='cpu')
    for served in (path, exported):
        gpu = Segmenter.load(served, backend='tensorrt')
        assert gpu.status.device == 'cuda:0'
        same = [
            gpu.segment(frame, 'bgr8').labels == cpu.segment(frame, 'bgr8').labels
            for frame in clip_frames
        ]
        assert np.mean(same) >= 0.99
