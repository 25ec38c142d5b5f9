"""What a measurement was made on."""

from __future__ import annotations

import os
import platform
import re
import sys
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


def machine_facts() -> dict[str, str]:
    """Describe processor, GPU and libraries; after a measurement also the threads that it used."""
    # loaded by then, if the measurement used them
    runtime = sys.modules.get('lemore_core.inference.onnxruntime_backend')
    threads = None if runtime is None else runtime.measured_threads()
    torch = sys.modules.get('torch')
    has_gpu = torch is not None and torch.cuda.is_available()
    facts = {
        'CPU': f'{cpu_model()}, {thread_counts()[-1]} usable',
        'ONNX Runtime threads': '' if threads is None else str(threads),
        'load': f'{os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else '',
        'GPU': torch.cuda.get_device_name() if torch is not None and has_gpu else 'none',
        'system': f'{platform.system()} {platform.machine()}, Python {platform.python_version()}',
        'libraries': ', '.join([f'lemore {lemore_core.__version__}', *_versions()]),
    }
    return {name: value for name, value in facts.items() if value}


def cpu_model(cpuinfo: Path = CPUINFO) -> str:
    """Return what the processor calls itself."""
    text = cpuinfo.read_text(encoding='utf-8') if cpuinfo.is_file() else ''
    match = re.search(r'^(?:model name|Model|Hardware)\s*:\s*(.+)$', text, re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()


def _versions() -> list[str]:
    found = []
    for name, packages in PACKAGES.items():
        for package in packages:
            try:
                found.append(f'{name} {version(package)}')
            except PackageNotFoundError:
                continue
            break
    return found
