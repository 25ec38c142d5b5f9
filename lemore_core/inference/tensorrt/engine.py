"""Run a TensorRT engine on PyTorch's buffers and stream, and try a new one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from lemore_core.export import DESCRIPTOR, LOGITS
from lemore_core.export.export import street_images
from lemore_core.inference.backend import BackendError, DeviceMemoryError
from lemore_core.inference.gpu.errors import guarded, is_out_of_memory
from lemore_core.inference.tensorrt.builder import INPUT, EngineRejectedError, logger_of

AGREEMENT = 0.99


class UnloadableEngineError(BackendError):
    """An engine that cannot be loaded."""


class Engine:
    """A TensorRT engine on fixed buffers.

    Maps RGB (N, height, width, 3) uint8 on ``device`` to logits (N, h, w, classes), and descriptors
    (N, n) where the file has them, float32, which the next run overwrites. N is up to ``batch``, or exactly that if the engine ``is_fixed``. The
    work is queued on PyTorch's current stream.
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
        count, *self._sides = tuple(self._engine.get_tensor_shape(INPUT))
        self.is_fixed, self._device = count != -1, device
        # a CUDA graph is lost if its context's shapes change
        self._contexts: dict[int, Any] = {}
        context = self._context(batch)
        self._pixels = torch.zeros((batch, *self._sides), dtype=torch.uint8, device=device)
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self._outputs = {
            name: torch.zeros(tuple(context.get_tensor_shape(name)), device=device)
            for name in (LOGITS, DESCRIPTOR)
            if name in names
        }

    def __call__(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for ``pixels``."""
        count = len(self._pixels) if self.is_fixed else len(pixels)
        taken = self._pixels[:count]
        if (pixels.shape, pixels.dtype) != (taken.shape, taken.dtype):
            found = f'{pixels.dtype} {tuple(pixels.shape)}'
            msg = f'pixels are {found}, the engine takes uint8 {tuple(taken.shape)}'
            raise BackendError(msg)
        context = self._context(count)
        taken.copy_(pixels)
        for name, buffer in {INPUT: self._pixels, **self._outputs}.items():
            context.set_tensor_address(name, buffer.data_ptr())
        self._logger.forget()
        if not context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            msg = f'TensorRT cannot run the engine: {self._logger.reason()}'
            raise BackendError(msg)
        return tuple(output[:count] for output in self._outputs.values())

    def _context(self, count: int) -> Any:
        context = self._contexts.get(count) or self._engine.create_execution_context()
        if context is None:
            msg = (
                f'{self._device} has no memory left for an engine of batch {count} '
                f'({self._logger.reason()}): use a smaller batch, or end what else uses it'
            )
            raise DeviceMemoryError(msg)
        if count not in self._contexts:
            context.set_input_shape(INPUT, (count, *self._sides))
            self._contexts[count] = context
        return context


def try_engine(
    api: Any, engine: bytes, onnx: bytes, shape: tuple[int, int, int], device: str
) -> None:
    """Compare an engine's classes of a street with ONNX Runtime's; ``shape`` as for ``build``."""
    batch, *size = shape
    images = street_images(*size)

    def run() -> NDArray[np.float32]:
        network = Engine(api, engine, batch, device)
        counts = {batch} if network.is_fixed else {1, batch}
        repeated = (np.repeat(x[None], count, 0) for count in counts for x in images)
        batches = (torch.from_numpy(pixels).to(device) for pixels in repeated)
        # the last of the batch: a wrong engine may compute only the first
        return np.stack([network(pixels)[0][-1].cpu().numpy().copy() for pixels in batches])

    found = guarded(run, torch.device(device), f'the first images of an engine of batch {batch}')
    session = onnxruntime.InferenceSession(onnx, providers=['CPUExecutionProvider'])
    expected = np.concatenate([session.run(None, {'pixels': x[None]})[0] for x in images])
    # argmax would take NaN for a class
    classes = np.concatenate([expected.argmax(-1)] * (len(found) // len(images)))
    same = np.isfinite(found).all(-1) & (found.argmax(-1) == classes)
    if same.mean() < AGREEMENT:
        msg = (
            f'only {np.floor(1e4 * same.mean()) / 100}% of its labels of a street are those of '
            f'ONNX Runtime, {AGREEMENT:.0%} must be'
        )
        raise EngineRejectedError(msg)
