"""What a measurement was made on."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import lemore_core
from lemore_core.system.cpu import thread_counts

CPUINFO = Path('/proc/cpuinfo')
# the packages of which one brings a library
PACKAGES = {
    'torch': ('torch',),
    'onnxruntime': ('onnxruntime', 'onnxruntime-gpu'),
    'numba': ('numba',),
    'numpy': ('numpy',),
    'opencv': ('opencv-python-headless', 'opencv-python', 'opencv-contrib-python'),
    'tensorrt': ('tensorrt', 'tensorrt-cu13', 'tensorrt-cu12'),
    'tensorrt_rtx': ('tensorrt-rtx-cu13', 'tensorrt-rtx-cu12'),
}


@dataclass(frozen=True)
class Machine:
    """The processor, how much of it this process may use, the GPU and the libraries.

    ``threads`` are those that ONNX Runtime was given, None before it runs; ``load`` is how many
    processes wanted a processor over the last minute, this one included, None where the system
    does not count them.
    """

    cpu: str
    processors: int
    threads: int | None
    load: float | None
    gpu: str
    system: str
    python: str
    versions: Mapping[str, str]

    def facts(self) -> dict[str, str]:
        """Return the same as text, without what is not known."""
        facts = {
            'CPU': f'{self.cpu}, {self.processors} usable',
            'ONNX Runtime threads': '' if self.threads is None else str(self.threads),
            'load': '' if self.load is None else f'{self.load:.1f}',
            'GPU': self.gpu or 'none',
            'system': f'{self.system}, Python {self.python}',
            'libraries': ', '.join(f'{name} {number}' for name, number in self.versions.items()),
        }
        return {name: value for name, value in facts.items() if value}


def machine() -> Machine:
    """Describe this machine. Called after the measurements it knows the threads they used."""
    return Machine(
        cpu=cpu_model(),
        processors=thread_counts()[-1],
        threads=chosen_threads(),
        load=round(os.getloadavg()[0], 2) if hasattr(os, 'getloadavg') else None,
        gpu=_gpu(),
        system=f'{platform.system()} {platform.machine()}',
        python=platform.python_version(),
        versions=_versions(),
    )


def cpu_model(cpuinfo: Path = CPUINFO) -> str:
    """Return what the processor calls itself."""
    try:
        text = cpuinfo.read_text(encoding='utf-8')
    except OSError:
        text = ''
    match = re.search(r'^(?:model name|Model|Hardware)\s*:\s*(.+)$', text, re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()


def chosen_threads() -> int | None:
    """Return the number of threads that ONNX Runtime's first network was given."""
    module = sys.modules.get('lemore_core.inference.onnxruntime_backend')
    return None if module is None else module.measured_threads()


def _versions() -> dict[str, str]:
    found = {'lemore': lemore_core.__version__}
    for name, packages in PACKAGES.items():
        for package in packages:
            try:
                found[name] = version(package)
            except PackageNotFoundError:
                continue
            break
    return found


def _gpu() -> str:
    torch = sys.modules.get('torch')
    if torch is None or not torch.cuda.is_available():
        return ''
    return str(torch.cuda.get_device_name())
