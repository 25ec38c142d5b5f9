"""A TensorRT engine on PyTorch's buffers and stream."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lemore_core.inference.backend import BackendError, DeviceMemoryError
from lemore_core.inference.gpu.errors import is_out_of_memory
from lemore_core.inference.tensorrt.builder import INPUT, OUTPUT, logger_of


class UnloadableEngineError(BackendError):
    """An engine that the runtime does not load."""


class Engine:
    """A TensorRT engine on buffers that never move, one run after the other.

    Maps ``batch`` images RGB (batch, height, width, 3) uint8 on ``device`` to logits (batch, h,
    w, classes) float32, which the next run overwrites. The work is queued on PyTorch's current
    stream, and nothing waits for it.
    """

    def __init__(self, api: Any, engine: bytes, batch: int, device: str) -> None:
        self._logger = logger_of(api)
        self._runtime = api.Runtime(self._logger)
        self._engine = self._load(engine, f'{api.__name__} {api.__version__}')
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
        if pixels.shape != self._pixels.shape or pixels.dtype != torch.uint8:
            found, taken = tuple(pixels.shape), tuple(self._pixels.shape)
            msg = f'pixels are {pixels.dtype} {found}, the engine takes uint8 {taken}'
            raise BackendError(msg)
        self._pixels.copy_(pixels)
        self._logger.forget()
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            msg = f'TensorRT cannot run the engine: {self._logger.reason()}'
            raise BackendError(msg)
        return self._logits

    def _load(self, engine: bytes, library: str) -> Any:
        self._logger.forget()
        loaded = self._runtime.deserialize_cuda_engine(engine)
        if loaded is None:
            reason = self._logger.reason()
            msg = f'{library} cannot load the engine: {reason}'
            if is_out_of_memory(reason):
                # the engine itself is good: it stays in the cache
                raise DeviceMemoryError(msg)
            raise UnloadableEngineError(msg)
        return loaded

    def _bind(self, name: str, dtype: torch.dtype, device: str) -> Tensor:
        shape = tuple(self._context.get_tensor_shape(name))
        buffer = torch.zeros(shape, dtype=dtype, device=device)
        self._context.set_tensor_address(name, buffer.data_ptr())
        return buffer
