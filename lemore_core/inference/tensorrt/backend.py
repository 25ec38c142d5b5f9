"""TensorRT, or TensorRT for RTX, on an NVIDIA GPU."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from lemore_core.inference.backend import BackendError, DeviceMemoryError, ServingRequest, Status
from lemore_core.inference.gpu.device import find_gpu
from lemore_core.inference.gpu.errors import guarded, is_out_of_memory
from lemore_core.inference.gpu.exclusive import gpu_lock
from lemore_core.inference.gpu.pipeline import GpuPipeline
from lemore_core.inference.tensorrt.builder import INPUT, OUTPUT, logger_of
from lemore_core.inference.tensorrt.engine_cache import EngineCache, EngineKey
from lemore_core.inference.tensorrt.engine_spec import BuildTarget, find_spec
from lemore_core.inference.tensorrt.libraries import Library, library_for_gpu

_log = logging.getLogger(__name__)


class EngineRefusedError(BackendError):
    """An engine that the runtime does not load."""


class Engine:
    """A TensorRT engine on buffers that never move, one run after the other.

    Maps ``batch`` images RGB (batch, height, width, 3) uint8 on ``device`` to logits (batch, h,
    w, classes) float32, which the next run overwrites. The work is queued on PyTorch's current
    stream, and nothing waits for it.
    """

    def __init__(self, library: Library, engine: bytes, batch: int, device: str) -> None:
        self._library = library
        self._logger = logger_of(library)
        self._runtime = library.api.Runtime(self._logger)
        self._engine = self._load(engine)
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
        """Return the logits of ``pixels``.

        Raises:
            BackendError: the pixels are not what the engine takes, or it did not start.

        """
        if pixels.shape != self._pixels.shape or pixels.dtype != torch.uint8:
            found, taken = tuple(pixels.shape), tuple(self._pixels.shape)
            msg = f'pixels are {pixels.dtype} {found}, the engine takes uint8 {taken}'
            raise BackendError(msg)
        self._pixels.copy_(pixels)
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            msg = f'TensorRT cannot run the engine: {self._logger.reason()}'
            raise BackendError(msg)
        return self._logits

    def _load(self, engine: bytes) -> Any:
        self._logger.forget()
        loaded = self._runtime.deserialize_cuda_engine(engine)
        if loaded is None:
            package, version = self._library.package.pip_name, self._library.version
            reason = self._logger.reason()
            msg = f'{package} {version} cannot load the engine: {reason}'
            if is_out_of_memory(reason):
                # the engine itself is good: it stays in the cache
                raise DeviceMemoryError(msg)
            raise EngineRefusedError(msg)
        return loaded

    def _bind(self, name: str, dtype: torch.dtype, device: str) -> Tensor:
        shape = tuple(self._context.get_tensor_shape(name))
        buffer = torch.zeros(shape, dtype=dtype, device=device)
        self._context.set_tensor_address(name, buffer.data_ptr())
        return buffer


def load(request: ServingRequest) -> GpuPipeline:
    """Load a checkpoint or an ONNX file; its engine is built on the first time, which takes long.

    Raises:
        BackendError: the GPU, TensorRT or what torch needs for it is missing, or the network
            cannot be built.
        DeviceMemoryError: the GPU has no room for it.
        CheckpointError: the file is missing, damaged, or not LeMoRe's.

    """
    gpu = find_gpu(request.device)
    cache = EngineCache(request.engine_cache)
    with torch.cuda.device(gpu.device):
        library = library_for_gpu(gpu.capability)
        spec = find_spec(request, BuildTarget(library, gpu.capability, gpu.name, gpu.driver))
        try:
            network = _place(library, spec.engine(cache), request, gpu.device)
        except EngineRefusedError as error:
            _log.warning('%s: it is built again', error)
            cache.discard(spec.key)
            network = _place(library, spec.engine(cache), request, gpu.device)
    return _pipeline(network, request, gpu.device)


def load_engine(request: ServingRequest, key: EngineKey) -> GpuPipeline:
    """Load an engine that is in the cache, without an export to find out which one is wanted.

    Raises:
        BackendError: it is not there, or the runtime refuses it, after which it is not kept; or
            see :func:`load`.
        DeviceMemoryError: the GPU has no room for it.

    """
    gpu = find_gpu(request.device)
    cache = EngineCache(request.engine_cache)
    engine = cache.read(key)
    if engine is None:
        msg = f'there is no engine {cache.path(key)}: the next start builds it again'
        raise BackendError(msg)
    with torch.cuda.device(gpu.device):
        try:
            network = _place(library_for_gpu(gpu.capability), engine, request, gpu.device)
        except EngineRefusedError:
            cache.discard(key)
            raise
    return _pipeline(network, request, gpu.device)


def _pipeline(network: Engine, request: ServingRequest, device: str) -> GpuPipeline:
    status = Status('tensorrt', device, request.gpu_precision, request.batch)
    return GpuPipeline(network, request.size, status)


def _place(library: Library, engine: bytes, request: ServingRequest, device: str) -> Engine:
    with gpu_lock:
        return guarded(
            lambda: Engine(library, engine, request.batch, device),
            torch.device(device),
            f'an engine of batch {request.batch}',
        )
