"""TensorRT, or TensorRT for RTX, on an NVIDIA GPU."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lemore_core.backends.backend import BackendError, ServingRequest, Status
from lemore_core.backends.engine_cache import EngineCache
from lemore_core.backends.engines import Target, plan
from lemore_core.backends.gpu import find_gpu
from lemore_core.backends.host_road import HostRoad
from lemore_core.backends.tensorrt_builder import INPUT, OUTPUT, logger_of
from lemore_core.backends.tensorrt_flavours import Library, library_for_gpu
from lemore_core.deploy.description import describe

_log = logging.getLogger(__name__)


class EngineRefusedError(BackendError):
    """An engine that the runtime does not load."""


class TensorRTBackend:
    """The serving graph as a TensorRT engine, on buffers that never move.

    The engine takes a fixed number of pictures; more are run in turns, and fewer leave the rest of
    its buffer as it was.
    """

    def __init__(self, library: Library, engine: bytes, batch: int, device: str) -> None:
        self.device = device
        self._library = library
        self._logger = logger_of(library)
        with torch.cuda.device(device):
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._runtime = library.api.Runtime(self._logger)
            self._engine = self._load(engine)
            self._context = self._engine.create_execution_context()
            if self._context is None:
                msg = f'no room on {device} for the engine: {self._logger.reason()}'
                raise BackendError(msg)
            _, height, width, _ = tuple(self._engine.get_tensor_shape(INPUT))
            self._context.set_input_shape(INPUT, (batch, height, width, 3))
            # on the stream that uses them, so that nothing has to be waited for
            with torch.cuda.stream(self._stream):
                self._input = _Buffer(self._context, INPUT, torch.uint8, device)
                self._output = _Buffer(self._context, OUTPUT, torch.float32, device)
            self._graph = self._capture()

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of ``pixels``.

        Raises:
            BackendError: the pixels are not of the engine's size, or the GPU failed.

        """
        batch, *picture = self._input.values.shape
        if pixels.dtype != np.uint8 or list(pixels.shape[1:]) != picture:
            msg = f'pixels are {pixels.dtype} {pixels.shape}, the engine takes uint8 {picture} each'
            raise BackendError(msg)
        logits = np.empty((len(pixels), *self._output.values.shape[1:]), np.float32)
        for start in range(0, len(pixels), batch):
            part = pixels[start : start + batch]
            self._input.values[: len(part)] = part
            self._run()
            logits[start : start + batch] = self._output.values[: len(part)]
        return logits

    def _run(self) -> None:
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
            self._input.on_device.copy_(self._input.on_host, non_blocking=True)
            if self._graph is None:
                self._enqueue()
            else:
                self._graph.replay()
            self._output.on_host.copy_(self._output.on_device, non_blocking=True)
            self._stream.synchronize()

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            msg = f'TensorRT cannot run the engine: {self._logger.reason()}'
            raise BackendError(msg)

    def _capture(self) -> torch.cuda.CUDAGraph | None:
        """Record the engine's launches, to be started by one call; None where that fails."""
        # the first run compiles and allocates, which cannot be recorded
        self._enqueue()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            # other threads of the process may use the GPU meanwhile
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode='thread_local'):
                self._enqueue()
        except (RuntimeError, BackendError) as error:
            _log.info('no CUDA graph of the engine, it is launched kernel by kernel: %s', error)
            return None
        return graph

    def _load(self, engine: bytes) -> Any:
        self._logger.forget()
        loaded = self._runtime.deserialize_cuda_engine(engine)
        if loaded is None:
            package, version = self._library.flavour.package, self._library.version
            msg = f'{package} {version} cannot load the engine: {self._logger.reason()}'
            raise EngineRefusedError(msg)
        return loaded


class _Buffer:
    """A tensor of the engine on the GPU, and its pinned twin on the host.

    ``values`` is the twin as an array, of the shape of a full batch.
    """

    def __init__(self, context: Any, name: str, dtype: torch.dtype, device: str) -> None:
        shape = tuple(context.get_tensor_shape(name))
        self.on_device: Tensor = torch.zeros(shape, dtype=dtype, device=device)
        self.on_host: Tensor = torch.zeros(shape, dtype=dtype, pin_memory=True)
        self.values: NDArray[Any] = self.on_host.numpy()
        context.set_tensor_address(name, self.on_device.data_ptr())


def load(request: ServingRequest) -> HostRoad:
    """Load a checkpoint or an ONNX file; its engine is built on the first time, which takes long.

    Raises:
        BackendError: the GPU, TensorRT or what torch needs for it is missing, the network cannot
            be built, or the GPU has no room for it.
        CheckpointError: the file is missing, damaged, or not LeMoRe's.

    """
    gpu = find_gpu(request.device)
    cache = EngineCache(request.engine_cache)
    classes = describe(request.path).config.classes
    with torch.cuda.device(gpu.device):
        library = library_for_gpu(gpu.capability)
        planned = plan(request, Target(library, gpu.capability, gpu.name, gpu.driver))
        try:
            network = TensorRTBackend(library, planned.engine(cache), request.batch, gpu.device)
        except EngineRefusedError as error:
            _log.warning('%s: it is built again', error)
            cache.discard(planned.key)
            network = TensorRTBackend(library, planned.engine(cache), request.batch, gpu.device)
    status = Status('tensorrt', gpu.device, request.gpu_precision, request.batch)
    return HostRoad(network.run, request.size, classes, status)
