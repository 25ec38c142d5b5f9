"""Timing things against each other in one run, since machines are shared and noisy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

K = TypeVar('K')
R = TypeVar('R')


def interleaved(
    calls: Mapping[K, Callable[[], R]], repeats: Iterable[object]
) -> dict[K, list[tuple[float, R]]]:
    """Make every call once a repeat, and return the milliseconds of each and what it returned.

    Interleaving lets a busy moment of the machine fall on all calls alike. A call that is not
    counted goes before each, and before the whole. ``repeats`` may show its progress.
    """
    for call in calls.values():
        call()
    timed: dict[K, list[tuple[float, R]]] = {name: [] for name in calls}
    for _ in repeats:
        for name, call in calls.items():
            # the threads of the call before may still spin for work, and its data fill the caches
            call()
            started = time.perf_counter()
            returned = call()
            timed[name].append((1e3 * (time.perf_counter() - started), returned))
    return timed


def interleaved_times(
    calls: Mapping[K, Callable[[], object]], repeats: Iterable[object]
) -> dict[K, list[float]]:
    """Make every call once a repeat, and return the milliseconds of each."""

    def without_result(call: Callable[[], object]) -> Callable[[], None]:
        # which would be kept otherwise, however large it is
        def timed_call() -> None:
            call()

        return timed_call

    timed = interleaved({name: without_result(call) for name, call in calls.items()}, repeats)
    return {name: [ms for ms, _ in found] for name, found in timed.items()}
