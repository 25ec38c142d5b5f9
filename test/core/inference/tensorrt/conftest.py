"""A TensorRT whose engines are ONNX files on the CPU; test/gpu runs real ones."""

from __future__ import annotations

import ctypes
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest
import torch

from lemore_core.export.export import export_onnx
from lemore_core.inference.gpu.device import Gpu
from lemore_core.inference.tensorrt import backend, cache

HEIGHT, WIDTH = 64, 128


class FakeContext:
    """Runs the ONNX file that serves as an engine, from and to the addresses that it is given."""

    ran: ClassVar[list[int]] = []

    def __init__(self, content: bytes) -> None:
        self.session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
        self.addresses: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        n, height, width, _ = shape
        assert not self.shapes, 'another shape would break the graph of the first'
        logits = (n, height // 8, width // 8, 11)
        self.shapes = {name: shape, 'logits': logits, 'descriptor': (n, 416)}

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 7
        pixels = self._view('pixels', ctypes.c_uint8)
        self.ran.append(len(pixels))
        outputs = [self.session.run(None, {'pixels': image[None]}) for image in pixels]
        for name, values in zip(('logits', 'descriptor'), zip(*outputs, strict=True), strict=False):
            self._view(name, ctypes.c_float)[:] = np.concatenate(values)
        return True

    def _view(self, name: str, kind: Any) -> Any:
        pointer = ctypes.cast(self.addresses[name], ctypes.POINTER(kind))
        return np.ctypeslib.as_array(pointer, self.shapes[name])


class FakeRuntime:
    # what TensorRT logs for contents that it does not load
    ERRORS: ClassVar = {
        b'refused': 'made for\nanother GPU',
        b'no room': 'Error Code 2: OutOfMemory (no further information)',
    }
    batch: ClassVar = -1  # open

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, content: bytes) -> SimpleNamespace | None:
        if content in self.ERRORS:
            self.logger.log('error', self.ERRORS[content])
            return None
        return SimpleNamespace(
            get_tensor_shape=lambda _: (self.batch, HEIGHT, WIDTH, 3),
            num_io_tensors=3,
            get_tensor_name=('pixels', 'logits', 'descriptor').__getitem__,
            create_execution_context=lambda: FakeContext(content),
        )


class FakeLogger:
    Severity = SimpleNamespace(INTERNAL_ERROR='fatal', ERROR='error', INFO='info', VERBOSE='v')


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The fake TensorRT, for a GPU of its own."""
    api = ModuleType('tensorrt')
    vars(api).update(
        __version__='11.4.0', Runtime=FakeRuntime, ILogger=FakeLogger, Context=FakeContext
    )
    for module in (backend, cache):
        monkeypatch.setattr(module, 'load_tensorrt', lambda: api)
    gpu = Gpu('cpu', 'NVIDIA RTX A2000 (26 SMs)', '8.6', '580.65')
    monkeypatch.setattr(cache, 'find_gpu', lambda _: gpu)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda: SimpleNamespace(cuda_stream=7))
    monkeypatch.setattr(torch.cuda, 'device', lambda _: nullcontext())
    return api


@pytest.fixture(scope='session')
def engine(untrained_checkpoint: Path) -> bytes:
    """An engine: the ONNX file of the untrained network."""
    return export_onnx(untrained_checkpoint, HEIGHT, WIDTH)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of engines."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    return tmp_path / 'lemore' / 'engines'
