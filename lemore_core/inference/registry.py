"""Choose and load a backend, with fallbacks if an engine, GPU or its memory is missing."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import logging
import sys
from collections.abc import Mapping, Sequence

from lemore_core.inference.backend import (
    AUTO,
    Backend,
    BackendError,
    DeviceMemoryError,
    DeviceUnusableError,
    RefusedEngineError,
    ServingRequest,
    how_to_install,
)
from lemore_core.inference.gpu.device import gpus

TENSORRT = 'tensorrt'
BOTH = ['.safetensors', '.onnx']
# the module with load(request), the packages that it needs, and the suffixes of its files
BACKENDS: Mapping[str, tuple[str, Sequence[str], Sequence[str]]] = {
    'onnxruntime': ('onnxruntime_backend', ['onnxruntime'], BOTH),
    'torch': ('torch_backend', ['torch'], ['.safetensors']),
    TENSORRT: ('tensorrt.backend', ['tensorrt', 'torch', 'onnx', 'onnxruntime'], BOTH),
}

_log = logging.getLogger(__name__)


def load(name: str, request: ServingRequest, *, wait_for_engine: bool = False) -> Backend:
    """Load the backend called ``name``.

    ``auto`` is TensorRT if the cache has an engine (with ``wait_for_engine`` it is built first),
    else PyTorch on a GPU, else ONNX Runtime, else PyTorch on the CPU. The CPU also serves if a GPU
    is unusable or its memory too small. A warning and ``status`` name the fallback. Raises
    BackendError where neither serves, CheckpointError for an unusable file.
    """
    chosen = _choose(request, wait_for_engine=wait_for_engine) if name == AUTO else name
    try:
        return _load(chosen, request)
    except BackendError as error:
        if chosen == TENSORRT and (name == AUTO or isinstance(error, RefusedEngineError)):
            other = _without_engine(request)
            return load(other, _degraded(request, f'{other} because {error}'))
        if isinstance(error, (DeviceMemoryError, DeviceUnusableError)):
            return load_on_cpu(request, f'the CPU because {error}')
        raise


def load_on_cpu(request: ServingRequest, degraded: str = '', name: str = '') -> Backend:
    """Load the backend called ``name``, by default the fastest, on the CPU.

    ``degraded`` is logged as a warning and becomes part of the status.
    """
    on_cpu = dataclasses.replace(request, device='cpu', precision=AUTO, batch=1)
    return _load(name or _without_engine(on_cpu), _degraded(on_cpu, degraded))


def missing(name: str) -> str:
    """Return which package backend ``name`` lacks and how to install it, empty if none."""
    if name not in BACKENDS:
        msg = f'no backend is called {name!r}, there are {", ".join([AUTO, *BACKENDS])}'
        raise BackendError(msg)
    for package in BACKENDS[name][1]:
        if importlib.util.find_spec(package) is None:
            return (
                f'backend {name!r} needs the package {package}, which {sys.executable} does not '
                f'find: {how_to_install(package)}'
            )
    return ''


def _choose(request: ServingRequest, *, wait_for_engine: bool) -> str:
    if request.device != 'cpu' and gpus() and not missing(TENSORRT):
        from lemore_core.inference.tensorrt.cache import locate_engine

        # only TensorRT serves an ONNX file on a named GPU
        is_wanted = wait_for_engine or (request.is_exported and request.device != AUTO)
        try:
            if locate_engine(request).is_built or is_wanted:
                return TENSORRT
        except BackendError as error:
            _log.info('no TensorRT engine: %s', error)
    return _without_engine(request)


def _without_engine(request: ServingRequest) -> str:
    if request.is_exported:
        return 'onnxruntime'
    if request.device != 'cpu' and not missing('torch') and gpus():
        # loading reports a GPU that PyTorch cannot use, and the CPU serves
        return 'torch'
    # a checkpoint's export needs onnx as well
    packages = map(importlib.util.find_spec, ('onnxruntime', 'onnx'))
    return 'onnxruntime' if all(packages) else 'torch'


def _degraded(request: ServingRequest, reason: str) -> ServingRequest:
    if reason and reason != request.degraded:
        _log.warning('serving with %s', reason)
    return dataclasses.replace(request, degraded=reason)


def _load(name: str, request: ServingRequest) -> Backend:
    if lacking := missing(name):
        raise BackendError(lacking)
    module, _, suffixes = BACKENDS[name]
    if request.path.suffix not in suffixes:
        msg = f'backend {name!r} reads {" and ".join(suffixes)} files, not {request.path}'
        raise BackendError(msg)
    if request.is_exported:
        # a checkpoint's weights are checked when read
        from lemore_core.export.onnx_file import require_finite_weights

        require_finite_weights(request.path)
    backend: Backend = importlib.import_module(f'{__package__}.{module}').load(request)
    return backend
