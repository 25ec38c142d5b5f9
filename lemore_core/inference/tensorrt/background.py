"""Backends that segment at once, and are replaced by a TensorRT engine once there is one."""

from __future__ import annotations

import dataclasses
import logging
from functools import partial

from lemore_core.inference import registry
from lemore_core.inference.backend import AUTO, Backend, BackendError, ServingRequest, Status
from lemore_core.inference.fallback import Fallback
from lemore_core.inference.gpu.driver import gpu_count
from lemore_core.inference.tensorrt.build_process import BuildRequest, Target
from lemore_core.inference.tensorrt.engine_cache import EngineKey
from lemore_core.inference.tensorrt.hot_swap import EngineSource, HotSwapBackend

_log = logging.getLogger(__name__)


def load_with_engine(name: str, request: ServingRequest) -> Backend:
    """Load as :func:`~lemore_core.inference.load` does; ``auto`` builds an engine beside it.

    Raises:
        BackendError, CheckpointError: see there.
    """
    backend = registry.load(name, request)
    # a GPU whose memory was too small already has none for an engine beside
    if name != AUTO or isinstance(backend, Fallback):
        return backend
    source = find_engine_source(_as_served(request, backend.status))
    return backend if source is None else HotSwapBackend(backend, source)


def find_engine_source(request: ServingRequest) -> EngineSource | None:
    """Return where an engine for the request comes from; None where none can be had or run."""
    reason = registry.missing('tensorrt')
    if request.device == 'cpu' or not gpu_count():
        reason = reason or 'there is no GPU, or it is not to be used'
    if reason:
        _log.debug('no engine: %s', reason)
        return None
    try:
        target = Target.here(request.device)
    except BackendError as error:
        _log.debug('no engine: %s', error)
        return None
    try:
        target.library(request.gpu_precision)
    except BackendError as error:
        # installed for nothing: whoever installed it wants to know
        _log.info('no engine: %s', error)
        return None
    on_gpu = dataclasses.replace(request, device=target.device)
    return EngineSource(BuildRequest(on_gpu, target), partial(_load_engine, on_gpu))


def _as_served(request: ServingRequest, status: Status) -> ServingRequest:
    """Ask for the precision that PyTorch chose: it has seen which one the network can take."""
    if request.precision == AUTO and status.backend == 'torch':
        return dataclasses.replace(request, precision=status.precision)
    return request


def _load_engine(request: ServingRequest, key: EngineKey) -> Backend:
    from lemore_core.inference.tensorrt.backend import load_engine

    return load_engine(request, key)
