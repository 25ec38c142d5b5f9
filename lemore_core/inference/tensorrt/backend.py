"""TensorRT on an NVIDIA GPU."""

from __future__ import annotations

import logging

import torch

from lemore_core.common.errors import GpuContextLostError
from lemore_core.inference.backend import BackendError, ServingRequest, Status
from lemore_core.inference.gpu.errors import guarded
from lemore_core.inference.gpu.pipeline import GpuPipeline
from lemore_core.inference.tensorrt.build import build_engine
from lemore_core.inference.tensorrt.builder import load_tensorrt
from lemore_core.inference.tensorrt.cache import EngineCache, locate_engine
from lemore_core.inference.tensorrt.engine import Engine, UnloadableEngineError

_log = logging.getLogger(__name__)


def load(request: ServingRequest) -> GpuPipeline:
    """Load a checkpoint or an ONNX file; a missing engine is built, which takes minutes.

    Raises:
        BackendError: the GPU, TensorRT or torch's CUDA is missing, or the network cannot be
            built, or its engine's labels differ.
        RefusedEngineError: its engine must not be used.
        PrecisionError: half precision was requested, and does not hold the network's numbers.
        DeviceMemoryError: the GPU has no room for it.
    """
    try:
        return _load(request)
    except UnloadableEngineError as error:
        _log.warning('%s: it is built again', error)
        return _load(request)


def _load(request: ServingRequest) -> GpuPipeline:
    cache = EngineCache()
    order = locate_engine(request)
    if not order.is_built or cache.read(order.digest) is None:
        build_engine(request)
        order = locate_engine(request)
    engine = cache.read(order.digest)
    if engine is None:
        msg = f'there is no engine {cache.path(order.digest)}: the next start builds it again'
        raise BackendError(msg)
    api, batch, device = load_tensorrt(), order.request.batch, order.gpu.device
    try:
        with torch.cuda.device(device):
            network = guarded(
                lambda: Engine(api, engine, batch, device),
                torch.device(device),
                f'an engine of batch {batch}',
            )
    except UnloadableEngineError:
        cache.discard(order.digest)
        raise
    except GpuContextLostError as error:
        cache.refuse(order.digest, error)
        raise
    status = Status(
        'tensorrt', device, order.request.gpu_precision, batch, 'serving', request.degraded
    )
    pipeline = GpuPipeline(
        network,
        request.size,
        status,
        is_fixed=True,
        on_lost=lambda reason: cache.refuse(order.digest, GpuContextLostError(reason)),
    )
    pipeline.prepare(request.expected)
    return pipeline
