"""The protocol that backends keep, their registry, and the choice among them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from lemore_core.errors import LemoreError

AUTO = 'auto'


class BackendError(LemoreError):
    """A backend that is unknown, not installed, or cannot run what it was asked to."""


class Backend(Protocol):
    """The serving graph, loaded for one network size on one device.

    ``run`` maps RGB (N, height, width, 3) uint8 to logits (N, height / 8, width / 8, classes)
    float32, C-contiguous. It is called from one thread.
    """

    @property
    def device(self) -> str:
        """The device in use, such as ``cpu`` or ``cuda:0``."""

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of ``pixels``."""


class BackendModule(Protocol):
    """What a backend's file offers."""

    def load(self, path: Path, height: int, width: int, device: str) -> Backend:
        """Load a checkpoint for one network size; ``device`` may be ``auto``."""


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

BACKENDS: Mapping[str, BackendEntry] = {
    'onnxruntime': BackendEntry(
        'lemore_core.backends.onnx_backend',
        ({'onnxruntime': 'onnxruntime'},),
        ('.safetensors', '.onnx'),
    ),
    'torch': BackendEntry(
        'lemore_core.backends.torch_backend', ({'torch': 'torch'},), ('.safetensors',)
    ),
    'tensorrt': BackendEntry(
        'lemore_core.backends.tensorrt_backend',
        (TENSORRT_PACKAGES, {'torch': 'torch'}, {'onnx': 'onnx'}),
        ('.safetensors', '.onnx'),
    ),
}


def choose(path: Path, device: str) -> str:
    """Return the backend that serves ``path`` best on ``device`` here.

    PyTorch where it has a GPU to use, else ONNX Runtime (several times faster on a CPU), else
    PyTorch.
    """
    if path.suffix == '.onnx':
        return 'onnxruntime'
    if _installed('torch') and device != 'cpu':
        import torch

        if torch.cuda.is_available():
            return 'torch'
    return 'onnxruntime' if _installed('onnxruntime') and _installed('onnx') else 'torch'


def load(name: str, path: Path, height: int, width: int, device: str) -> Backend:
    """Load a checkpoint into the backend called ``name``.

    Raises:
        BackendError: no backend has that name, its package is not installed, it does not read
            this kind of file, or the device is not there.
        CheckpointError: the checkpoint is not usable.

    """
    entry = BACKENDS.get(name)
    if entry is None:
        msg = f'no backend is called {name!r}, there are {", ".join([AUTO, *BACKENDS])}'
        raise BackendError(msg)
    for modules in entry.needs:
        if not any(_installed(module) for module in modules):
            package, *_ = modules.values()
            choice = ' or '.join(modules.values())
            msg = f'backend {name!r} needs the package {choice}: pip install {package}'
            raise BackendError(msg)
    if path.suffix not in entry.suffixes:
        msg = f'backend {name!r} reads {" and ".join(entry.suffixes)} files, not {path}'
        raise BackendError(msg)
    module = cast('BackendModule', importlib.import_module(entry.module))
    return module.load(path, height, width, device)


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
