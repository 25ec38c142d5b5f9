"""ONNX Runtime, on a CPU or through its CUDA provider."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lemore_core.backends.registry import AUTO, BackendError

_CUDA = 'CUDAExecutionProvider'
_CPU = 'CPUExecutionProvider'
_ERRORS_ONLY = 3


class OnnxBackend:
    """The serving graph as an ONNX Runtime session."""

    def __init__(self, content: bytes, device: str, source: str) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        provider, self.device = _provider(device)
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=[provider])
        except Exception as error:  # the runtime's exceptions share no other base
            msg = f'ONNX Runtime cannot load {source}: {str(error).splitlines()[0]}'
            raise BackendError(msg) from error

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of ``pixels``."""
        (logits,) = self._session.run(['logits'], {'pixels': pixels})
        return np.ascontiguousarray(logits)


def load(path: Path, height: int, width: int, device: str) -> OnnxBackend:
    """Load an exported ONNX file, or export a checkpoint (which needs torch) and load that.

    Raises:
        BackendError: the device is not there, or torch is missing where it is needed.
        CheckpointError: the checkpoint is not usable.

    """
    if path.suffix == '.onnx':
        return OnnxBackend(path.read_bytes(), device, str(path))
    try:
        from lemore_core.deploy.export import export_onnx
    except ImportError as error:
        msg = (
            f'{path} must be exported for ONNX Runtime, which needs torch: run lemore export '
            'where torch is installed and load the .onnx file it writes'
        )
        raise BackendError(msg) from error
    return OnnxBackend(export_onnx(path, height, width), device, str(path))


def _provider(device: str) -> tuple[str | tuple[str, dict[str, int]], str]:
    available = onnxruntime.get_available_providers()
    if device == 'cpu' or (device == AUTO and _CUDA not in available):
        return _CPU, 'cpu'
    kind, _, index = device.partition(':')
    if kind not in (AUTO, 'cuda') or _CUDA not in available or not (index or '0').isdigit():
        msg = (
            f'ONNX Runtime cannot use device {device!r} here: it has {", ".join(available)}; '
            'use cpu, or install onnxruntime-gpu for cuda'
        )
        raise BackendError(msg)
    return (_CUDA, {'device_id': int(index or 0)}), f'cuda:{index or 0}'
