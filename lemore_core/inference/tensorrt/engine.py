"""Run a TensorRT engine on PyTorch's buffers and stream, and try a new one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from lemore_core.export.export import street_images
from lemore_core.inference.backend import BackendError, DeviceMemoryError
from lemore_core.inference.gpu.errors import guarded, is_out_of_memory
from lemore_core.inference.tensorrt.builder import INPUT, OUTPUT, EngineRejectedError, logger_of

AGREEMENT = 0.99


class UnloadableEngineError(BackendError):
    """An engine that cannot be loaded."""


class Engine:
    """A TensorRT engine on fixed buffers.

    Maps RGB (batch, height, width, 3) uint8 on ``device`` to logits (batch, h, w, classes) float32,
    which the next run overwrites. The work is queued on PyTorch's current stream.
    """

    def __init__(self, api: Any, engine: bytes, batch: int, device: str) -> None:
        self._logger = logger_of(api)
        self._logger.forget()
        self._runtime = api.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            reason = self._logger.reason()
            msg = f'{api.__name__} {api.__version__} cannot load the engine: {reason}'
            # without memory, the engine is good and stays in the cache
            raise DeviceMemoryError(msg) if is_out_of_memory(reason) else UnloadableEngineError(msg)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            msg = (
                f'{device} has no memory left for an engine of batch {batch} '
                f'({self._logger.reason()}): use a smaller batch, or end what else uses the device'
            )
            raise DeviceMemoryError(msg)
        _, height, width, _ = tuple(self._engine.get_tensor_shape(INPUT))
        self._context.set_input_shape(INPUT, (batch, height, width, 3))
        self._pixels = self._bind(INPUT, torch.uint8, device)
        self._logits = self._bind(OUTPUT, torch.float32, device)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the logits of ``pixels``."""
        taken = self._pixels
        if (pixels.shape, pixels.dtype) != (taken.shape, taken.dtype):
            found = f'{pixels.dtype} {tuple(pixels.shape)}'
            msg = f'pixels are {found}, the engine takes uint8 {tuple(taken.shape)}'
            raise BackendError(msg)
        self._pixels.copy_(pixels)
        self._logger.forget()
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            msg = f'TensorRT cannot run the engine: {self._logger.reason()}'
            raise BackendError(msg)
        return self._logits

    def _bind(self, name: str, dtype: torch.dtype, device: str) -> Tensor:
        shape = tuple(self._context.get_tensor_shape(name))
        buffer = torch.zeros(shape, dtype=dtype, device=device)
        self._context.set_tensor_address(name, buffer.data_ptr())
        return buffer


def try_engine(
    api: Any, engine: bytes, onnx: bytes, shape: tuple[int, int, int], device: str
) -> None:
    """Compare an engine's classes of a street with ONNX Runtime's; ``shape`` as for ``build``."""
    batch, height, width = shape
    images = street_images(height, width)

    def run() -> NDArray[np.float32]:
        network = Engine(api, engine, batch, device)
        batches = (torch.from_numpy(np.repeat(x[None], batch, 0)).to(device) for x in images)
        # the last of the batch: a wrong engine may compute only the first
        return np.stack([network(pixels)[-1].cpu().numpy().copy() for pixels in batches])

    found = guarded(run, torch.device(device), f'the first images of an engine of batch {batch}')
    session = onnxruntime.InferenceSession(onnx, providers=['CPUExecutionProvider'])
    expected = np.concatenate([session.run(None, {'pixels': x[None]})[0] for x in images])
    # argmax would take NaN for a class
    same = np.isfinite(found).all(-1) & (found.argmax(-1) == expected.argmax(-1))
    if same.mean() < AGREEMENT:
        msg = (
            f'only {np.floor(1e4 * same.mean()) / 100}% of its labels of a street are those of '
            f'ONNX Runtime, {AGREEMENT:.0%} must be'
        )
        raise EngineRejectedError(msg)
