"""What a measurement was made on."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import distributions
from pathlib import Path

import lemore_core
from lemore_core.common.cpu import thread_counts

CPUINFO = Path('/proc/cpuinfo')
LIBRARY = re.compile('torch|numba|numpy|onnxruntime(-gpu)?|opencv-.*|tensorrt(-rtx)?(-cu[0-9]+)?')


def machine_facts() -> dict[str, str]:
    """Describe processor, GPU and libraries; after a measurement also the threads that it used."""
    # loaded by then, if the measurement used them
    runtime = sys.modules.get('lemore_core.inference.onnxruntime_backend')
    threads = None if runtime is None else runtime.measured_threads()
    torch = sys.modules.get('torch')
    has_gpu = torch is not None and torch.cuda.is_available()
    installed = {d.metadata['Name']: d.version for d in distributions()}
    versions = [f'{name} {installed[name]}' for name in installed if LIBRARY.fullmatch(name)]
    facts = {
        'CPU': f'{cpu_model()}, {thread_counts()[-1]} usable',
        'ONNX Runtime threads': '' if threads is None else str(threads),
        'load': f'{os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else '',
        'GPU': torch.cuda.get_device_name() if torch is not None and has_gpu else 'none',
        'system': f'{platform.system()} {platform.machine()}, Python {platform.python_version()}',
        'libraries': ', '.join([f'lemore {lemore_core.__version__}', *sorted(versions)]),
    }
    return {name: value for name, value in facts.items() if value}


def cpu_model(cpuinfo: Path = CPUINFO) -> str:
    """Return what the processor calls itself."""
    text = cpuinfo.read_text(encoding='utf-8') if cpuinfo.is_file() else ''
    match = re.search(r'^(?:model name|Model|Hardware)\s*:\s*(.+)$', text, re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()
