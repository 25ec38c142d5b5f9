"""Spreads the parts of bags over processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from lemore_core.system.cpu import usable_processors
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.segmentation.parts import Part
from lemore_ros.bags.segmentation.segment import Job, Session
from lemore_ros.bags.segmentation.work import PartResult

ATTEMPTS = 3


class Task(NamedTuple):
    """A part of a bag that somebody is to make."""

    job: Job
    part: Part


Done = tuple[Task, PartResult]
# of this process: the bag and the network that served the last part
_session: Session | None = None


def make(task: Task) -> PartResult:
    """Make a part; bag and network stay open for the next one of the same job."""
    global _session  # noqa: PLW0603 - a worker process has nowhere else to keep them
    if _session is None or _session.job != task.job:
        segmenter = None
        if _session is not None:
            if _session.job.options.model == task.job.options.model:
                segmenter = _session.segmenter
            _session.__exit__()
        _session = Session(task.job, segmenter=segmenter)
    return _session.make(task.part)


def here(tasks: Sequence[Task], told: Callable[[int], object]) -> Iterator[Done]:
    """Make the parts in this process; ``told`` is called with the frames as they are labelled."""
    session: Session | None = None
    try:
        for task in tasks:
            if session is None or session.job != task.job:
                segmenter = session.segmenter if session else None
                if session is not None:
                    session.__exit__()
                session = Session(task.job, segmenter=segmenter)
            yield task, session.make(task.part, told)
    finally:
        if session is not None:
            session.__exit__()


def over_processes(tasks: Sequence[Task], workers: int) -> Iterator[Done]:
    """Make the parts in ``workers`` processes, each on its share of the processors.

    A part whose process died is made again, up to :data:`ATTEMPTS` times.

    Raises:
        BagError: processes keep dying.

    """
    left = list(tasks)
    for _ in range(ATTEMPTS):
        try:
            for done in _with_pool(left, workers):
                left.remove(done[0])
                yield done
        except BrokenProcessPool:
            continue
        return
    msg = (
        f'worker processes died {ATTEMPTS} times, {len(left)} parts are left: is memory short? '
        'Go on with --resume and fewer --workers'
    )
    raise BagError(msg)


def _with_pool(tasks: Sequence[Task], workers: int) -> Iterator[Done]:
    # forked processes would share the parent's threads' locks
    context = multiprocessing.get_context('spawn')
    shares = context.Queue()
    for share in _shares(workers):
        shares.put(share)
    with ProcessPoolExecutor(workers, context, initializer=_settle, initargs=(shares,)) as pool:
        futures: dict[Future[Any], Task] = {pool.submit(make, task): task for task in tasks}
        try:
            while futures:
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    yield futures.pop(future), future.result()
        finally:
            for future in futures:
                future.cancel()


def _shares(workers: int) -> list[set[int]]:
    """Return the processors of each worker: the backends choose their threads by them."""
    usable = sorted(usable_processors())
    return [set(usable[i::workers]) or set(usable) for i in range(workers)]


def _settle(shares: Any) -> None:
    share = shares.get()
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, share)
