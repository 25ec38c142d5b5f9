"""Stages of a stream that work at the same time, each on an item of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar('T')


@contextmanager
def read_ahead(items: Iterable[T], ahead: int = 1) -> Iterator[Iterator[T]]:
    """Give ``items`` as a thread of their own makes them, ``ahead`` of whoever takes them.

    A stage is an iterable over what the one before gives; stages that are read ahead work at the
    same time, in order, and hold ``ahead`` items each at most, done or in hand: memory does not
    grow with their number. An exception of ``items`` is raised where they are taken. The block is
    left when nothing is being made any more: that may use what is closed next.
    """
    source = iter(items)
    with ThreadPoolExecutor(1) as pool:
        taken = _take(source, pool, ahead)
        try:
            yield taken
        finally:
            taken.close()
            if hasattr(source, 'close'):
                pool.submit(source.close)


def _take(source: Iterator[T], pool: ThreadPoolExecutor, ahead: int) -> Any:
    end = object()
    making: deque[Future[Any]] = deque(pool.submit(next, source, end) for _ in range(ahead))
    try:
        while (item := making.popleft().result()) is not end:
            making.append(pool.submit(next, source, end))
            yield item
            # let go of it while the next one is waited for
            del item
    finally:
        for future in making:
            future.cancel()
        for future in making:
            with suppress(BaseException):
                future.result()
