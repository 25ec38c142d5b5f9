"""The processors that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

TOPOLOGY = Path('/sys/devices/system/cpu')


def thread_counts() -> tuple[int, ...]:
    """Return the numbers of threads worth trying, ascending: one, a core each, all processors."""
    processors = usable_processors()
    cores = {_siblings(processor) for processor in processors}
    return tuple(sorted({1, len(cores), len(processors)}))


def usable_processors() -> set[int]:
    """Return the processors that this process may run on, by number."""
    if hasattr(os, 'sched_getaffinity'):
        # less than the machine has, where a container or taskset says so
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _siblings(processor: int) -> str:
    """Name the core of a processor: its hardware threads. Unknown ones count as one each."""
    try:
        return (TOPOLOGY / f'cpu{processor}' / 'topology' / 'thread_siblings_list').read_text()
    except OSError:
        return str(processor)
