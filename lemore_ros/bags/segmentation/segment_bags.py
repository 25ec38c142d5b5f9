"""Segments bags from the first to the last, in this process or in several of this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from lemore_core.common.cpu import usable_processors
from lemore_core.common.errors import GpuContextLostError
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.segmentation.divide import Part
from lemore_ros.bags.segmentation.options import Job, SegmentOptions
from lemore_ros.bags.segmentation.session import Session, begin
from lemore_ros.bags.segmentation.unfinished import PartResult, UnfinishedBag

ATTEMPTS = 3


class PartOfJob(NamedTuple):
    """A part of a bag that some process is to segment."""

    job: Job
    part: Part


Done = tuple[PartOfJob, PartResult]


def find_jobs(inputs: Sequence[Path], output: Path, options: SegmentOptions) -> list[Job]:
    """Return a job for every input; those of several inputs are bags in the folder ``output``.

    Raises:
        BagError: two inputs would write bags of one name.
    """
    sources = [path.resolve() for path in inputs]
    folder = output.absolute()
    if len(sources) == 1:
        return [Job(sources[0], folder, options)]
    names = [path.name if path.is_dir() else path.stem for path in sources]
    for name in names:
        if names.count(name) > 1:
            msg = f'{names.count(name)} inputs are called {name!r}: segment them one at a time'
            raise BagError(msg)
    return [Job(path, folder / name, options) for path, name in zip(sources, names, strict=True)]


class BagSegmentation:
    """Jobs whose bags are divided and whose folders are open.

    ``frames`` is about how many images are segmented in all, ``resumed`` how many of them an
    earlier run did; ``notes`` are what the user should know before.

    Raises:
        LemoreError: one of the bags cannot be segmented, or its result cannot be begun.
    """

    def __init__(self, jobs: Sequence[Job], *, resume: bool) -> None:
        self._parts: dict[Job, list[Part]] = {}
        self._left: list[PartOfJob] = []
        self.frames = self.resumed = 0
        self.notes: list[str] = []
        # of several that are resumed, some bags may be finished
        many = len(jobs) > 1
        for job in jobs:
            if resume and many and job.output.exists():
                continue
            self._parts[job], frames, notes = begin(job, resume=resume)
            self.frames += frames
            self.notes += notes
            for part in self._parts[job]:
                result = UnfinishedBag(job.output).result_of(part)
                if result is None:
                    self._left.append(PartOfJob(job, part))
                else:
                    self.resumed += result.frames

    def segment(
        self, on_progress: Callable[[int], object], *, workers: int = 1
    ) -> list[tuple[Job, PartResult]]:
        """Segment everything; ``on_progress`` is called with numbers of images as they are done.

        A bag gets its name as soon as it is whole.

        Raises:
            LemoreError: the network, the device, the disk or the workers failed; what is finished
                by then is kept for another run.
        """
        results = self._finished()
        for task, result in self._done(on_progress, workers):
            self._left.remove(task)
            if workers > 1:
                on_progress(result.frames)
            results += self._finished()
        return results

    def _done(self, on_progress: Callable[[int], object], workers: int) -> Iterator[Done]:
        tasks = list(self._left)
        if workers > 1 and tasks:
            return in_processes(tasks, workers)
        return in_this_process(tasks, on_progress)

    def _finished(self) -> list[tuple[Job, PartResult]]:
        whole = self._parts.keys() - {task.job for task in self._left}
        jobs = [job for job in self._parts if job in whole]
        return [(job, UnfinishedBag(job.output).finish(self._parts.pop(job))) for job in jobs]


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
    with closing(Worker()) as worker:
        for task in tasks:
            yield task, worker.segment(task, on_progress)


def in_processes(tasks: Sequence[PartOfJob], workers: int) -> Iterator[Done]:
    """Segment the parts in ``workers`` processes, each on its share of the processors.

    A part whose process died is tried again, up to :data:`ATTEMPTS` times.

    Raises:
        BagError: processes keep dying.
    """
    left = list(tasks)
    for _ in range(ATTEMPTS):
        try:
            for done in _with_pool(left, min(workers, len(left))):
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
