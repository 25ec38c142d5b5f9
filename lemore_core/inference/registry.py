"""Choose and load a backend, with fallbacks if an engine, GPU or its memory is missing."""

from __future__ import annotations

import dataclasses
import importlib
import logging

from lemore_core.inference.backend import (
    AUTO,
    Backend,
    BackendError,
    DeviceMemoryError,
    DeviceUnusableError,
    RefusedEngineError,
    ServingRequest,
)
from lemore_core.inference.gpu.device import gpus
from lemore_core.inference.needs import entry, is_installed, missing

TENSORRT = 'tensorrt'

_log = logging.getLogger(__name__)


def load(name: str, request: ServingRequest, *, wait_for_engine: bool = False) -> Backend:
    """Load the backend called ``name``.

    ``auto`` is TensorRT if the cache has an engine (with ``wait_for_engine`` it is built first),
    else PyTorch on a GPU, else ONNX Runtime, else PyTorch on the CPU. The CPU also serves if a GPU
    is unusable or its memory too small. A warning and ``status`` name the fallback.

    Raises:
        BackendError: no backend has that name, its package is not installed, it does not read
            this kind of file, or the device is not there.
        CheckpointError: the checkpoint is not usable.
    """
    chosen = _choose(request, wait_for_engine=wait_for_engine) if name == AUTO else name
    try:
        return _load(chosen, request)
    except (DeviceMemoryError, DeviceUnusableError) as error:
        if chosen == TENSORRT and name == AUTO:
            return _load_without_engine(request, error)
        return load_on_cpu(request, f'the CPU because {error}')
    except BackendError as error:
        is_refused = name == AUTO or isinstance(error, RefusedEngineError)
        if chosen == TENSORRT and is_refused:
            return _load_without_engine(request, error)
        raise


def load_on_cpu(request: ServingRequest, degraded: str = '', name: str = '') -> Backend:
    """Load the backend called ``name``, by default the fastest, on the CPU.

    ``degraded`` is logged as a warning and becomes part of the status.

    Raises:
        BackendError, CheckpointError: see :func:`load`.
    """
    on_cpu = dataclasses.replace(request, device='cpu', precision=AUTO, batch=1)
    return _load(name or _without_engine(on_cpu), _degraded(on_cpu, degraded))


def _load_without_engine(request: ServingRequest, error: BackendError) -> Backend:
    name = _without_engine(request)
    return load(name, _degraded(request, f'{name} because {error}'))


def _degraded(request: ServingRequest, reason: str) -> ServingRequest:
    if reason and reason != request.degraded:
        _log.warning('serving with %s', reason)
    return dataclasses.replace(request, degraded=reason)


def _choose(request: ServingRequest, *, wait_for_engine: bool) -> str:
    if request.device == 'cpu' or not gpus() or missing(TENSORRT):
        return _without_engine(request)
    from lemore_core.inference.tensorrt.cache import locate_engine

    try:
        engine = locate_engine(request)
    except BackendError as error:
        _log.info('no TensorRT engine: %s', error)
        return _without_engine(request)
    # only TensorRT serves an ONNX file on a named GPU
    is_wanted = wait_for_engine or (request.is_exported and request.device != AUTO)
    return TENSORRT if is_wanted or engine.is_built else _without_engine(request)


def _without_engine(request: ServingRequest) -> str:
    if request.is_exported:
        return 'onnxruntime'
    if request.device != 'cpu' and is_installed('torch') and gpus():
        # loading reports a GPU that PyTorch cannot use, and the CPU serves
        return 'torch'
    return 'onnxruntime' if is_installed('onnxruntime') and is_installed('onnx') else 'torch'


def _load(name: str, request: ServingRequest) -> Backend:
    reason = missing(name)
    if reason:
        raise BackendError(reason)
    module, _, suffixes = entry(name)
    if request.path.suffix not in suffixes:
        msg = f'backend {name!r} reads {" and ".join(suffixes)} files, not {request.path}'
        raise BackendError(msg)
    if request.is_exported:
        # a checkpoint's weights are checked when read
        from lemore_core.export.model_card import require_finite_weights

        require_finite_weights(request.path)
    backend: Backend = importlib.import_module(module).load(request)
    return backend
