"""Measure memory and processors of this process, keep freed memory or return it."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lemore_core.common.errors import LemoreError

STATUS = Path('/proc/self/status')
TOPOLOGY = Path('/sys/devices/system/cpu')
CPU_MAX = Path('/sys/fs/cgroup/cpu.max')  # of a container, by cgroup v2
KIB_IN_MB = 1024 / 1e6
# of mallopt(3)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
KEPT_BYTES = 64 * 2**20
# the most that glibc allows
BLOCK_BYTES = 32 * 2**20


class ProcessMemoryError(LemoreError):
    """A system that does not tell the memory of a process."""


class ProcessMemory(NamedTuple):
    """Megabytes (10^6 bytes) in physical memory: now, and at most so far."""

    resident_mb: float
    peak_mb: float


def process_memory(status: Path = STATUS) -> ProcessMemory:
    """Read the memory of this process, or of the one whose ``/proc/<pid>/status`` is given."""
    # psutil does not know the peak, and getrusage counts the program that started this one
    try:
        text = status.read_text(encoding='ascii')
        kib = dict(re.findall(r'^(VmRSS|VmHWM):\s+(\d+) kB$', text, re.MULTILINE))
        return ProcessMemory(int(kib['VmRSS']) * KIB_IN_MB, int(kib['VmHWM']) * KIB_IN_MB)
    except (OSError, KeyError) as error:
        msg = f'{status} does not tell the memory of a process, as Linux does: {error}'
        raise ProcessMemoryError(msg) from error


def device_memory_mb(device: str) -> float | None:
    """Return the megabytes (10^6 bytes) that PyTorch alone holds on a GPU, None for a CPU."""
    if not device.startswith('cuda') or 'torch' not in sys.modules:
        return None
    import torch

    return torch.cuda.memory_reserved(device) / 1e6


def keep_freed_memory(*, all_blocks: bool = False) -> None:
    """Keep freed memory in this process for the next image, in every thread.

    glibc returns blocks of some megabytes to the kernel as soon as they are freed, and gets them
    anew, zeroed page by page: at 1920x1080 that is a quarter of the time that segmenting takes.
    ``all_blocks`` keeps blocks of any size, without a limit: those of a training step are tens of
    megabytes, and returning them takes 40% of its time. Only for glibc.
    """
    blocks = (M_MMAP_MAX, 0) if all_blocks else (M_MMAP_THRESHOLD, BLOCK_BYTES)
    _call_glibc('mallopt', *blocks)
    _call_glibc('mallopt', M_TRIM_THRESHOLD, 2**31 - 1 if all_blocks else KEPT_BYTES)


def release_memory() -> None:
    """Collect garbage and return free memory to the system."""
    gc.collect()
    trim_memory()


def trim_memory() -> None:
    """Return free memory to the system; with glibc, which keeps what lies between used blocks."""
    _call_glibc('malloc_trim', 0)


def thread_counts() -> tuple[int, ...]:
    """Return thread counts to try, ascending: one, one per core, one per processor, within a quota."""
    processors, cores, most = usable_processors(), set(), sys.maxsize
    for processor in processors:
        siblings = TOPOLOGY / f'cpu{processor}' / 'topology' / 'thread_siblings_list'
        cores.add(siblings.read_text() if siblings.is_file() else str(processor))
    with suppress(OSError, ValueError):  # no container, or 'max', which is no quota
        quota, period = map(int, CPU_MAX.read_text(encoding='ascii').split())
        most = -(-quota // period)
    return tuple(sorted({1, min(len(cores), most), min(len(processors), most)}))


def usable_processors() -> set[int]:
    """Return the processors that this process may run on, by number."""
    if hasattr(os, 'sched_getaffinity'):
        # a container or taskset may allow fewer than the machine has
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _call_glibc(function: str, *arguments: Any) -> None:
    # other C libraries have no such functions
    with suppress(AttributeError, OSError, TypeError):
        getattr(ctypes.CDLL(None), function)(*arguments)
