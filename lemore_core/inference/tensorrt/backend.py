"""TensorRT on an NVIDIA GPU."""

from __future__ import annotations

import logging

import torch

from lemore_core.common.errors import GpuContextLostError
from lemore_core.inference.backend import BackendError, ServingRequest, Status
from lemore_core.inference.gpu.errors import guarded
from lemore_core.inference.gpu.pipeline import GpuPipeline
from lemore_core.inference.registry import how_to_install
from lemore_core.inference.tensorrt.build import EngineBuild
from lemore_core.inference.tensorrt.builder import load_tensorrt
from lemore_core.inference.tensorrt.cache import locate_engine
from lemore_core.inference.tensorrt.engine import Engine, UnloadableEngineError

_log = logging.getLogger(__name__)


def load(request: ServingRequest) -> GpuPipeline:
    """Load a checkpoint or an ONNX file; a missing engine is built, which takes minutes."""
    try:
        return _load(request)
    except UnloadableEngineError as error:
        _log.warning('%s: it is built again', error)
        return _load(request)


def _load(request: ServingRequest) -> GpuPipeline:
    cached = locate_engine(request)
    engine = cached.read()
    if engine is None:
        _require_cuda()
        EngineBuild(request).wait()
        engine = cached.read()
    if engine is None:
        msg = f'there is no engine {cached.path}: the next start builds it again'
        raise BackendError(msg)
    api, batch, device = load_tensorrt(), cached.request.batch, cached.gpu.device
    try:
        with torch.cuda.device(device):
            network = guarded(
                lambda: Engine(api, engine, batch, device),
                torch.device(device),
                f'an engine of batch {batch}',
            )
    except UnloadableEngineError:
        cached.discard()
        raise
    except GpuContextLostError as error:
        cached.refuse(error)
        raise
    precision = cached.request.gpu_precision
    status = Status('tensorrt', device, precision, batch, 'serving', request.degraded)
    pipeline = GpuPipeline(network, request.size, status, is_fixed=True, on_lost=cached.refuse)
    return pipeline.prepare(request.expected)


def _require_cuda() -> None:
    if not torch.cuda.is_available():
        msg = (
            f'TensorRT needs a torch that can use the GPU, {torch.__version__} (CUDA '
            f'{torch.version.cuda}) cannot: {how_to_install("torch")}, for your CUDA version'
        )
        raise BackendError(msg)
