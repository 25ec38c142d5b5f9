"""Packages of each backend, found without importing it."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Mapping
from typing import NamedTuple

from lemore_core.common.errors import TORCH
from lemore_core.inference.backend import AUTO, BackendError

JETSON_KERNEL = 'tegra'
# pip's packages do not fit the driver of a Jetson
ON_JETSON: Mapping[str, str] = {
    'tensorrt': (
        'sudo apt install python3-libnvinfer (part of JetPack), and make the virtual environment '
        'with --system-site-packages (docs/jetson.md)'
    ),
    'torch': 'install the wheel of your JetPack (docs/jetson.md)',
}


class BackendEntry(NamedTuple):
    """A backend's module, its packages and the suffixes of its files."""

    module: str
    packages: tuple[str, ...]
    suffixes: tuple[str, ...]


BACKENDS: Mapping[str, BackendEntry] = {
    'onnxruntime': BackendEntry(
        'lemore_core.inference.onnxruntime_backend', ('onnxruntime',), ('.safetensors', '.onnx')
    ),
    'torch': BackendEntry('lemore_core.inference.torch_backend', ('torch',), ('.safetensors',)),
    'tensorrt': BackendEntry(
        'lemore_core.inference.tensorrt.backend',
        ('tensorrt', 'torch', 'onnx', 'onnxruntime'),
        ('.safetensors', '.onnx'),
    ),
}


def entry(name: str) -> BackendEntry:
    """Return the entry of the backend called ``name``."""
    found = BACKENDS.get(name)
    if found is None:
        msg = f'no backend is called {name!r}, there are {", ".join([AUTO, *BACKENDS])}'
        raise BackendError(msg)
    return found


def missing(name: str) -> str:
    """Return which package backend ``name`` lacks and how to install it, empty if none."""
    for package in entry(name).packages:
        if not is_installed(package):
            return (
                f'backend {name!r} needs the package {package}, which {sys.executable} does not '
                f'find: {how_to_install(package)}'
            )
    return ''


def is_installed(package: str) -> bool:
    """Return whether ``package`` can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def how_to_install(package: str) -> str:
    """Return the command that installs ``package`` on this machine."""
    hint = ON_JETSON.get(package) if platform.release().endswith(JETSON_KERNEL) else None
    return hint or f'pip install {TORCH if package == "torch" else package}'
