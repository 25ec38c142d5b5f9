"""Segments the parts of bags in this process, or in several of this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from lemore_core.errors import GpuContextLostError
from lemore_core.system.cpu import usable_processors
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.segmentation.divide import Part
from lemore_ros.bags.segmentation.options import Job
from lemore_ros.bags.segmentation.session import Session
from lemore_ros.bags.segmentation.unfinished import PartResult

ATTEMPTS = 3


class PartOfJob(NamedTuple):
    """A part of a bag that some process is to segment."""

    job: Job
    part: Part


Done = tuple[PartOfJob, PartResult]


class Worker:
    """Segments parts one after the other; bag and network stay open for the next one."""

    def __init__(self) -> None:
        self._session: Session | None = None

    def segment(
        self, task: PartOfJob, on_progress: Callable[[int], object] = lambda _: None
    ) -> PartResult:
        """Segment a part; ``on_progress`` is called with numbers of images as they are done."""
        if self._session is None or self._session.job != task.job:
            is_same = self._session and self._session.job.options.model == task.job.options.model
            segmenter = self._session.segmenter if self._session and is_same else None
            self.close()
            self._session = Session(task.job, segmenter=segmenter)
        return self._session.segment(task.part, on_progress)

    def close(self) -> None:
        """Close the bag."""
        if self._session is not None:
            self._session.close()
        self._session = None


_worker = Worker()  # of a process that others give parts to


def segment_part(task: PartOfJob) -> PartResult:
    """Segment a part in a process that others give parts to.

    A process that lost its GPU ends: the part is tried again in another one.
    """
    try:
        return _worker.segment(task)
    except GpuContextLostError:
        # what it held on the GPU would abort it on its way out
        os._exit(1)


def in_this_process(
    tasks: Sequence[PartOfJob], on_progress: Callable[[int], object]
) -> Iterator[Done]:
    """Segment the parts here."""
    worker = Worker()
    try:
        for task in tasks:
            yield task, worker.segment(task, on_progress)
    finally:
        worker.close()


def in_processes(tasks: Sequence[PartOfJob], workers: int) -> Iterator[Done]:
    """Segment the parts in ``workers`` processes, each on its share of the processors.

    A part whose process died is tried again, up to :data:`ATTEMPTS` times.

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


def _with_pool(tasks: Sequence[PartOfJob], workers: int) -> Iterator[Done]:
    # forked processes would share the parent's threads' locks
    context = multiprocessing.get_context('spawn')
    shares = context.Queue()
    usable = sorted(usable_processors())
    for i in range(workers):
        shares.put(set(usable[i::workers]) or set(usable))
    with ProcessPoolExecutor(workers, context, _take_share, (shares,)) as pool:
        futures: dict[Future[Any], PartOfJob] = {pool.submit(segment_part, t): t for t in tasks}
        try:
            while futures:
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    yield futures.pop(future), future.result()
        finally:
            for future in futures:
                future.cancel()


def _take_share(shares: Any) -> None:
    # the backends choose the number of their threads by it
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, shares.get())
