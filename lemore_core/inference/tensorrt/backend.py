"""TensorRT, or TensorRT for RTX, on an NVIDIA GPU."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lemore_core.common.errors import GpuContextLostError, in_one_line
from lemore_core.export.errors import PrecisionError
from lemore_core.images.image import Image
from lemore_core.inference.backend import (
    AUTO,
    FP32,
    BackendError,
    DeviceMemoryError,
    ServingRequest,
    Status,
)
from lemore_core.inference.gpu.device import find_gpu
from lemore_core.inference.gpu.errors import guarded, is_out_of_memory
from lemore_core.inference.gpu.exclusive import gpu_lock
from lemore_core.inference.gpu.pipeline import GpuPipeline
from lemore_core.inference.tensorrt.build_process import BuildRequest, Target, wait_for_engine
from lemore_core.inference.tensorrt.builder import INPUT, OUTPUT, logger_of
from lemore_core.inference.tensorrt.engine_cache import EngineCache, EngineKey
from lemore_core.inference.tensorrt.libraries import Library, library_for_gpu
from lemore_core.segmentation import Segmentation

_log = logging.getLogger(__name__)


class EngineRefusedError(BackendError):
    """An engine that the runtime does not load."""


class Engine:
    """A TensorRT engine on buffers that never move, one run after the other.

    Maps ``batch`` images RGB (batch, height, width, 3) uint8 on ``device`` to logits (batch, h,
    w, classes) float32, which the next run overwrites. The work is queued on PyTorch's current
    stream, and nothing waits for it. TensorRT for RTX compiles its kernels when they are first
    run, unless ``kernels`` are those that another :meth:`kernels` returned.
    """

    def __init__(
        self, library: Library, engine: bytes, batch: int, device: str, kernels: bytes = b''
    ) -> None:
        self._library = library
        self._logger = logger_of(library)
        self._runtime = library.api.Runtime(self._logger)
        self._engine = self._load(engine)
        self._kernels: Any = None
        self._context = self._make_context(kernels)
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

    def kernels(self) -> bytes:
        """Return the kernels that were compiled so far; empty where the engine holds them."""
        return b'' if self._kernels is None else bytes(self._kernels.serialize())

    def run_once(self) -> None:
        """Run on black images and wait, so that every kernel is compiled."""
        self(torch.zeros_like(self._pixels)).sum().item()

    def _make_context(self, kernels: bytes) -> Any:
        if not self._library.builds_ahead:
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        self._kernels = config.create_runtime_cache()
        if kernels:
            # refused where another driver or GPU compiled them: they are compiled again
            self._kernels.deserialize(kernels)
        config.set_runtime_cache(self._kernels)
        return self._engine.create_execution_context(config)

    def _load(self, engine: bytes) -> Any:
        self._logger.forget()
        loaded = self._runtime.deserialize_cuda_engine(engine)
        if loaded is None:
            package, version = self._library.pip_name, self._library.version
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


class QuarantiningBackend:
    """An engine; if the GPU's context is lost while it labels, the next start does without it."""

    def __init__(self, pipeline: GpuPipeline, cache: EngineCache, key: EngineKey) -> None:
        self._pipeline = pipeline
        self._cache = cache
        self._key = key
        self.logits = pipeline.logits
        self.close = pipeline.close

    @property
    def status(self) -> Status:
        """That of the engine."""
        return self._pipeline.status

    def segment(self, images: Sequence[Image]) -> list[Segmentation]:
        """Label images, see :class:`~lemore_core.inference.backend.Backend`."""
        try:
            return self._pipeline.segment(images)
        except GpuContextLostError as error:
            self._cache.quarantine(self._key, in_one_line(error))
            raise


def load(request: ServingRequest) -> QuarantiningBackend:
    """Load a checkpoint or an ONNX file; its engine is built on the first time, which takes long.

    Raises:
        BackendError: the GPU, TensorRT or what torch needs for it is missing, or the network
            cannot be built, or its engine labels otherwise.
        QuarantinedError: its engine must not be used.
        PrecisionError: half precision was asked for, and does not hold the network's numbers.
        DeviceMemoryError: the GPU has no room for it.
    """
    try:
        return _load_built(request)
    except EngineRefusedError as error:
        _log.warning('%s: it is built again', error)
        return _load_built(request)
    except PrecisionError as error:
        if request.precision != AUTO:
            raise
        _log.warning('%s: the engine is built in fp32', error)
        return _load_built(dataclasses.replace(request, precision=FP32))


def _load_built(request: ServingRequest) -> QuarantiningBackend:
    order = BuildRequest(request, Target.here(request.device), low_priority=False)
    key = build_engine(order)
    cache = EngineCache(request.engine_cache)
    try:
        return QuarantiningBackend(load_engine(request, key), cache, key)
    except GpuContextLostError as error:
        cache.quarantine(key, in_one_line(error))
        raise


def build_engine(order: BuildRequest) -> EngineKey:
    """Have an engine in the cache, see :func:`wait_for_engine`."""
    with order.start() as build:
        return wait_for_engine(build)


def load_engine(request: ServingRequest, key: EngineKey) -> GpuPipeline:
    """Load an engine that is in the cache; it takes the batch of ``key``.

    Raises:
        EngineRefusedError: the runtime does not take it, and it is not kept.
        BackendError: it is not there; or see :func:`load`.
        DeviceMemoryError: the GPU has no room for it.
    """
    gpu = find_gpu(request.device)
    cache = EngineCache(request.engine_cache)
    engine = cache.read(key)
    if engine is None:
        msg = f'there is no engine {cache.path(key)}: the next start builds it again'
        raise BackendError(msg)
    library, kernels = library_for_gpu(gpu.capability), cache.read_kernels(key)

    def place() -> Engine:
        network = Engine(library, engine, key.batch, gpu.device, kernels)
        network.run_once()
        return network

    with torch.cuda.device(gpu.device), gpu_lock:
        try:
            what = f'an engine of batch {key.batch}'
            network = guarded(place, torch.device(gpu.device), what)
        except EngineRefusedError:
            cache.discard(key)
            raise
    if network.kernels() != kernels:
        cache.keep_kernels(key, network.kernels())
    status = Status('tensorrt', gpu.device, request.gpu_precision, key.batch)
    return GpuPipeline(network, request.size, status)
