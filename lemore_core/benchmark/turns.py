"""Times things against each other in one run, since machines are shared and noisy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

K = TypeVar('K')
R = TypeVar('R')


def in_turns(
    tasks: Mapping[K, Callable[[], R]], rounds: Iterable[object]
) -> dict[K, list[tuple[float, R]]]:
    """Call every task once a round and return each call's milliseconds and what it returned.

    Turns let a busy moment of the machine fall on all tasks alike. A turn begins with a call that
    is not counted, and so does the whole. ``rounds`` may show its progress.
    """
    for task in tasks.values():
        task()
    timed: dict[K, list[tuple[float, R]]] = {name: [] for name in tasks}
    for _ in rounds:
        for name, task in tasks.items():
            # the threads of the task before may still spin for work, and its data fill the caches
            task()
            started = time.perf_counter()
            returned = task()
            timed[name].append((1e3 * (time.perf_counter() - started), returned))
    return timed


def times_in_turns(
    tasks: Mapping[K, Callable[[], object]], rounds: Iterable[object]
) -> dict[K, list[float]]:
    """Call every task once a round, in turns, and return each call's milliseconds."""
    timed = in_turns({name: _silent(task) for name, task in tasks.items()}, rounds)
    return {name: [milliseconds for milliseconds, _ in calls] for name, calls in timed.items()}


def _silent(task: Callable[[], object]) -> Callable[[], None]:
    """Return the task without what it returns, which would be kept otherwise."""

    def call() -> None:
        task()

    return call
