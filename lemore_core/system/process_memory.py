"""The memory that this process occupies, as Linux tells it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lemore_core.errors import LemoreError

STATUS = Path('/proc/self/status')
KIB_IN_MB = 1024 / 1e6


class ProcessMemoryError(LemoreError):
    """A system that does not tell the memory of a process."""


@dataclass(frozen=True)
class ProcessMemory:
    """Megabytes (10^6 bytes) in physical memory: now, at most so far, and now without files.

    ``anonymous_mb`` leaves out the pages of libraries, which other processes share.
    """

    resident_mb: float
    peak_mb: float
    anonymous_mb: float


def process_memory(status: Path = STATUS) -> ProcessMemory:
    """Read the memory of this process.

    The peak is that of this program: ``getrusage`` would count the program that started it as
    well, where the kernel lends its memory to the child.

    Raises:
        ProcessMemoryError: the system does not tell, or not in Linux' way.

    """
    try:
        text = status.read_text(encoding='ascii')
    except OSError as error:
        msg = f'the memory of a process is read from {status}, which only Linux has'
        raise ProcessMemoryError(msg) from error
    found = {name: int(kib) for name, kib in re.findall(r'^(\w+):\s+(\d+) kB$', text, re.MULTILINE)}
    try:
        values = [found[name] * KIB_IN_MB for name in ('VmRSS', 'VmHWM', 'RssAnon')]
    except KeyError as error:
        msg = f'{status} says nothing of {error}: the memory of this process is not known'
        raise ProcessMemoryError(msg) from error
    return ProcessMemory(*values)
