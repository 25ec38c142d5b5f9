"""Processors of this process."""

from __future__ import annotations

import os
from pathlib import Path

TOPOLOGY = Path('/sys/devices/system/cpu')


def thread_counts() -> tuple[int, ...]:
    """Return thread counts to try, ascending: one, one per core, one per processor."""
    processors = usable_processors()
    cores = {_siblings(processor) for processor in processors}
    return tuple(sorted({1, len(cores), len(processors)}))


def usable_processors() -> set[int]:
    """Return the processors that this process may run on, by number."""
    if hasattr(os, 'sched_getaffinity'):
        # a container or taskset may allow fewer than the machine has
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _siblings(processor: int) -> str:
    """Return the name of a processor's core; where it is unknown, the processor itself."""
    try:
        return (TOPOLOGY / f'cpu{processor}' / 'topology' / 'thread_siblings_list').read_text()
    except OSError:
        return str(processor)
