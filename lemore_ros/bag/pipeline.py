"""Steps that work at the same time, each on another item, in order and with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from typing import Any, NamedTuple

AHEAD = 1


class Step(NamedTuple):
    """One step: ``work`` makes of an item the next step's, on ``workers`` threads of its own."""

    work: Callable[[Any], Any]
    workers: int = 1


def run_pipeline(items: Iterable[Any], steps: list[Step]) -> Iterator[Any]:
    """Yield what the last step makes of every item, in the items' order.

    The items themselves are made by a thread of their own. Of each step at most its workers and
    :data:`AHEAD` items are in hand or done and waiting, so that memory does not grow with their
    number. The first exception, of a step or of ``items``, ends everything and is raised here.
    """
    with ExitStack() as stack:
        stream: Generator[Any, None, None] = stack.enter_context(closing(_made_apart(items, stack)))
        for step in steps:
            pool = stack.enter_context(ThreadPoolExecutor(step.workers))
            ahead = step.workers + AHEAD
            stream = stack.enter_context(closing(_mapped(pool, step.work, stream, ahead)))
        # whoever takes the results works at the same time as well
        yield from stack.enter_context(closing(_made_apart(stream, stack)))


def run_plainly(items: Iterable[Any], steps: list[Step]) -> Iterator[Any]:
    """Do the same one item after the other, on this thread."""
    for item in items:
        for step in steps:
            item = step.work(item)  # noqa: PLW2901 - it becomes what the step made of it
        yield item


def _made_apart(items: Iterable[Any], stack: ExitStack) -> Generator[Any, None, None]:
    pool = stack.enter_context(ThreadPoolExecutor(1))
    source = iter(items)
    end = object()
    waiting = deque([pool.submit(next, source, end)])
    try:
        while (item := waiting.popleft().result()) is not end:
            while len(waiting) < AHEAD:
                waiting.append(pool.submit(next, source, end))
            yield item
    finally:
        _drop(waiting)


def _mapped(
    pool: ThreadPoolExecutor, work: Callable[[Any], Any], items: Iterator[Any], ahead: int
) -> Generator[Any, None, None]:
    waiting: deque[Future[Any]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        _drop(waiting)


def _drop(waiting: deque[Future[Any]]) -> None:
    """Cancel what has not begun, and wait for what has: it may use what is closed next."""
    for future in waiting:
        future.cancel()
    for future in waiting:
        with suppress(BaseException):
            future.result()
