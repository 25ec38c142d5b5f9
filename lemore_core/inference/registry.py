"""The backends there are, what they need, and the choice among them."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import logging
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast

from lemore_core.common.errors import TORCH
from lemore_core.inference.backend import (
    AUTO,
    Backend,
    BackendError,
    BackendModule,
    DeviceMemoryError,
    DeviceUnusableError,
    QuarantinedError,
    ServingRequest,
)
from lemore_core.inference.fallback import Fallback
from lemore_core.inference.gpu.driver import gpu_count

_log = logging.getLogger(__name__)


class BackendEntry(NamedTuple):
    """Where a backend lives, what it needs and the files that it reads.

    Each need is a choice: the modules of which one is enough, with the packages that bring them.
    """

    module: str
    needs: tuple[Mapping[str, str], ...]
    suffixes: tuple[str, ...]


TENSORRT_PACKAGES: Mapping[str, str] = {
    'tensorrt': 'tensorrt',
    'tensorrt_rtx': 'tensorrt-rtx-cu13',
}

# On a Jetson NVIDIA's driver is of the system, and pip's packages do not fit it.
JETSON_KERNEL = 'tegra'
ON_JETSON: Mapping[str, str] = {
    'tensorrt': (
        'sudo apt install python3-libnvinfer, which is of JetPack, and make the virtual environment '
        'with --system-site-packages (docs/jetson.md)'
    ),
    'torch': 'install the wheel of your JetPack (docs/jetson.md)',
}

BACKENDS: Mapping[str, BackendEntry] = {
    'onnxruntime': BackendEntry(
        'lemore_core.inference.onnxruntime_backend',
        ({'onnxruntime': 'onnxruntime'},),
        ('.safetensors', '.onnx'),
    ),
    'torch': BackendEntry(
        'lemore_core.inference.torch_backend', ({'torch': 'torch'},), ('.safetensors',)
    ),
    'tensorrt': BackendEntry(
        'lemore_core.inference.tensorrt.backend',
        (TENSORRT_PACKAGES, *({name: name} for name in ('torch', 'onnx', 'onnxruntime'))),
        ('.safetensors', '.onnx'),
    ),
}


def choose(path: Path, device: str) -> str:
    """Return the backend that serves ``path`` best on ``device`` here, without building anything.

    PyTorch where there is a GPU, else ONNX Runtime (several times faster on a CPU), else
    PyTorch.
    """
    if path.suffix == '.onnx':
        return 'onnxruntime'
    if device != 'cpu' and _installed('torch') and gpu_count():
        # where it cannot use the GPU, loading says why, and the CPU serves
        return 'torch'
    return 'onnxruntime' if _installed('onnxruntime') and _installed('onnx') else 'torch'


def load(name: str, request: ServingRequest) -> Backend:
    """Load what is requested into the backend called ``name``, or into the best one for ``auto``.

    Where the device has too little memory, a smaller batch is tried, then the CPU, which also
    serves where a GPU cannot be used; what ``auto`` means serves in the place of an engine that is
    in quarantine. A warning says so, and the status of what is returned.

    Raises:
        BackendError: no backend has that name, its package is not installed, it does not read
            this kind of file, or the device is not there.
        CheckpointError: the checkpoint is not usable.
    """
    if name == AUTO:
        name = choose(request.path, request.device)
    try:
        return _load(name, request)
    except DeviceMemoryError as error:
        return _load_smaller(name, request, error)
    except DeviceUnusableError as error:
        return _load_on_cpu(request, error)
    except QuarantinedError as error:
        name = choose(request.path, request.device)
        return _fallen(_load(name, request), name, error)


def how_to_install(package: str) -> str:
    """Say how a package gets onto this machine."""
    hint = ON_JETSON.get(package) if platform.release().endswith(JETSON_KERNEL) else None
    return hint or f'pip install {TORCH if package == "torch" else package}'


def missing(name: str) -> str:
    """Say what the backend called ``name`` needs and is not installed; empty if nothing.

    Raises:
        BackendError: no backend has that name.
    """
    for modules in _entry(name).needs:
        if not any(_installed(module) for module in modules):
            package, *_ = modules.values()
            choice = ' or '.join(modules.values())
            return (
                f'backend {name!r} needs the package {choice}, which {sys.executable} does not find: '
                f'{how_to_install(package)}'
            )
    return ''


def _load(name: str, request: ServingRequest) -> Backend:
    entry = _entry(name)
    reason = missing(name)
    if reason:
        raise BackendError(reason)
    if request.path.suffix not in entry.suffixes:
        msg = f'backend {name!r} reads {" and ".join(entry.suffixes)} files, not {request.path}'
        raise BackendError(msg)
    if request.is_exported:
        # a checkpoint's weights are checked as it is read
        from lemore_core.export.model_card import require_finite_weights

        require_finite_weights(request.path)
    module = cast('BackendModule', importlib.import_module(entry.module))
    return module.load(request)


def _load_smaller(name: str, request: ServingRequest, error: DeviceMemoryError) -> Backend:
    batch = request.batch
    while batch > 1:
        batch //= 2
        try:
            backend = _load(name, dataclasses.replace(request, batch=batch))
        except DeviceMemoryError:
            continue
        return _fallen(backend, f'batches of {batch} instead of {request.batch}', error)
    return _load_on_cpu(request, error)


def _load_on_cpu(request: ServingRequest, error: BackendError) -> Backend:
    # half precision is a GPU's
    on_cpu = dataclasses.replace(request, device='cpu', precision=AUTO, batch=1)
    backend = _load(choose(request.path, 'cpu'), on_cpu)
    return _fallen(backend, 'the CPU', error)


def _fallen(backend: Backend, what: str, error: BackendError) -> Backend:
    degraded = f'{what} because {error}'
    _log.warning('serving with %s', degraded)
    return Fallback(backend, degraded)


def _entry(name: str) -> BackendEntry:
    entry = BACKENDS.get(name)
    if entry is None:
        msg = f'no backend is called {name!r}, there are {", ".join([AUTO, *BACKENDS])}'
        raise BackendError(msg)
    return entry


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
