"""Segments bags from the first to the last, here or in several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lemore_ros.bags.errors import BagError
from lemore_ros.bags.segmentation.options import Job, SegmentOptions
from lemore_ros.bags.segmentation.processes import Done, PartOfJob, in_processes, in_this_process
from lemore_ros.bags.segmentation.session import Division, begin
from lemore_ros.bags.segmentation.unfinished import PartResult, UnfinishedBag


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
        self._divisions: list[Division] = []
        self._left: list[PartOfJob] = []
        self.resumed = 0
        # of several that are resumed, some bags may be finished
        many = len(jobs) > 1
        for job in jobs:
            if resume and many and job.output.exists():
                continue
            division, parts, resumed = begin(job, resume=resume)
            self._divisions.append(division)
            self._left += [PartOfJob(job, part) for part in parts]
            self.resumed += resumed
        self.frames = sum(division.frames for division in self._divisions)
        self.notes = [note for division in self._divisions for note in division.notes]

    def segment(
        self, on_progress: Callable[[int], object], *, workers: int = 1
    ) -> list[tuple[Job, PartResult]]:
        """Segment everything; ``on_progress`` is called with numbers of images as they are done.

        A bag gets its name as soon as it is whole.

        Raises:
            LemoreError: the network, the device, the disk or the workers failed; what is finished
                by then is kept for another run.

        """
        results = self._finished(set())
        for task, result in self._done(on_progress, workers):
            self._left.remove(task)
            if workers > 1:
                on_progress(result.frames)
            results += self._finished({job for job, _ in results})
        return results

    def _done(self, on_progress: Callable[[int], object], workers: int) -> Iterator[Done]:
        tasks = list(self._left)
        if workers > 1 and tasks:
            return in_processes(tasks, min(workers, len(tasks)))
        return in_this_process(tasks, on_progress)

    def _finished(self, before: set[Job]) -> list[tuple[Job, PartResult]]:
        busy = {task.job for task in self._left} | before
        return [
            (division.job, UnfinishedBag(division.job.output).finish(list(division.parts)))
            for division in self._divisions
            if division.job not in busy
        ]
