from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lemore_core import inference as backends
from lemore_core.images.image import Image
from lemore_core.inference import BackendError, ServingRequest, torch_backend
from lemore_core.inference.backend import Backend, DeviceMemoryError

Load = Callable[[ServingRequest], Backend]


def short_of_memory(load: Load, fits: Callable[[ServingRequest], bool]) -> Load:
    """Load what fits; of the rest, say what a GPU would."""

    def limited(request: ServingRequest) -> Backend:
        if fits(request):
            return load(request)
        msg = f'no room for batches of {request.batch}'
        raise DeviceMemoryError(msg)

    return limited


def test_too_large_a_batch_is_halved_until_it_fits(
    untrained_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def fits(request: ServingRequest) -> bool:
        tried.append((request.device, request.batch))
        return request.batch <= 2

    monkeypatch.setattr(torch_backend, 'load', short_of_memory(torch_backend.load, fits))
    request = ServingRequest(untrained_checkpoint, 96, 128, device='cpu', batch=8)
    with caplog.at_level(logging.WARNING):
        backend = backends.load('torch', request)
    assert tried == [('cpu', 8), ('cpu', 4), ('cpu', 2)]
    degraded = 'batches of 2 instead of 8 because no room for batches of 8'
    assert backend.status.degraded == degraded
    assert [record.message for record in caplog.records] == [f'serving with {degraded}']


def test_the_cpu_serves_what_no_batch_fits(
    untrained_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = short_of_memory(torch_backend.load, lambda request: request.device == 'cpu')
    monkeypatch.setattr(torch_backend, 'load', limited)
    request = ServingRequest(untrained_checkpoint, 96, 128, device='cuda', precision='fp16')
    backend = backends.load('torch', request)
    assert (backend.status.backend, backend.status.device) == ('onnxruntime', 'cpu')
    assert backend.status.degraded == 'the CPU because no room for batches of 1'
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    expected = backends.load('onnxruntime', ServingRequest(untrained_checkpoint, 96, 128))
    (found,), (wanted,) = (b.segment([Image(pixels)]) for b in (backend, expected))
    assert np.array_equal(found.labels, wanted.labels)
    assert np.array_equal(backend.logits(pixels[None]), expected.logits(pixels[None]))
    backend.close()


@pytest.mark.parametrize('name', ['onnxruntime', 'torch'])
def test_half_precision_is_refused_on_a_cpu(untrained_checkpoint: Path, name: str) -> None:
    request = ServingRequest(untrained_checkpoint, 96, 128, device='cpu', precision='fp16')
    with pytest.raises(BackendError, match=r'fp16 .* on a CPU'):
        backends.load(name, request)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'precision': 'int8'}, "precision is 'int8', it must be one of auto, fp32, fp16"),
        ({'precision': ''}, "precision is ''"),
        ({'batch': 0}, 'batch is 0, it must be from 1 to 64'),
        ({'batch': 65}, 'batch is 65'),
        ({'path': Path('a.onnx'), 'precision': 'fp16'}, 'a.onnx is served in the precision'),
    ],
)
def test_what_cannot_be_requested_is_named(options: dict[str, object], message: str) -> None:
    values = {'path': Path('a.safetensors'), 'height': 128, 'width': 128, **options}
    with pytest.raises(BackendError, match=message):
        ServingRequest(**values)  # type: ignore[arg-type]
