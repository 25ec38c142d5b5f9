"""Load a TensorRT engine on an NVIDIA GPU."""

from __future__ import annotations

import logging

import torch

from lemore_core.common.errors import GpuContextLostError
from lemore_core.inference.backend import BackendError, ServingRequest, Status, how_to_install
from lemore_core.inference.gpu.errors import guarded
from lemore_core.inference.gpu.pipeline import GpuPipeline
from lemore_core.inference.tensorrt.build import EngineBuild
from lemore_core.inference.tensorrt.builder import load_tensorrt
from lemore_core.inference.tensorrt.cache import CachedEngine, locate_engine
from lemore_core.inference.tensorrt.engine import Engine, UnloadableEngineError

_log = logging.getLogger(__name__)


def load(request: ServingRequest) -> GpuPipeline:
    """Load a checkpoint or an ONNX file; a missing engine is built, which takes minutes."""
    cached = locate_engine(request)
    try:
        network = _load(cached)
    except UnloadableEngineError as error:
        _log.warning('%s: it is built again', error)
        network = _load(cached)
    batch, precision = cached.request.batch, request.gpu_precision
    status = Status('tensorrt', cached.gpu.device, precision, batch, 'serving', request.degraded)
    options = {'is_fixed': network.is_fixed, 'on_lost': cached.refuse}
    pipeline = GpuPipeline(network, request.size, status, **options)
    return pipeline.prepare(request.expected)


def _load(cached: CachedEngine) -> Engine:
    content = cached.read()
    if content is None:
        if not torch.cuda.is_available():
            msg = (
                f'TensorRT needs a torch that can use the GPU, {torch.__version__} (CUDA '
                f'{torch.version.cuda}) cannot: {how_to_install("torch")}, for your CUDA version'
            )
            raise BackendError(msg)
        EngineBuild(cached.request).wait()
        content = cached.read()
    if content is None:
        msg = f'there is no engine {cached.path}: the next start builds it again'
        raise BackendError(msg)
    engine, batch, device = content, cached.request.batch, cached.gpu.device
    try:
        with torch.cuda.device(device):
            return guarded(
                lambda: Engine(load_tensorrt(), engine, batch, device),
                torch.device(device),
                f'an engine of batch {batch}',
            )
    except UnloadableEngineError:
        cached.discard()
        raise
    except GpuContextLostError as error:
        cached.refuse(error)
        raise
