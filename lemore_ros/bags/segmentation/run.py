"""Labels bags from the first to the last, here or spread over workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lemore_ros.bags.errors import BagError
from lemore_ros.bags.segmentation.options import SegmentOptions
from lemore_ros.bags.segmentation.segment import Job, Plan, begin
from lemore_ros.bags.segmentation.spread import Done, Task, here, over_processes
from lemore_ros.bags.segmentation.work import PartResult, Work


def find_jobs(inputs: Sequence[Path], output: Path, options: SegmentOptions) -> list[Job]:
    """Return a job for every input; those of several inputs are bags in the folder ``output``.

    Raises:
        BagError: two inputs would write bags of one name.

    """
    sources = [path.resolve() for path in inputs]
    if len(sources) == 1:
        return [Job(sources[0], output.absolute(), options)]
    names = [path.name if path.is_dir() else path.stem for path in sources]
    for name in names:
        if names.count(name) > 1:
            msg = f'{names.count(name)} inputs are called {name!r}: label them one at a time'
            raise BagError(msg)
    folder = output.absolute()
    return [Job(path, folder / name, options) for path, name in zip(sources, names, strict=True)]


class Run:
    """Planned jobs, their folders open.

    ``frames`` is about how many are labelled in all, ``made`` how many of them an earlier run made.

    Raises:
        LemoreError: one of the bags cannot be labelled, or its result cannot be begun.

    """

    def __init__(self, jobs: Sequence[Job], *, resume: bool) -> None:
        self._plans: list[Plan] = []
        self._left: list[Task] = []
        self.made = 0
        # of a batch that is resumed, some bags may be finished
        many = len(jobs) > 1
        for job in jobs:
            if resume and many and job.output.exists():
                continue
            plan, parts, made = begin(job, resume=resume)
            self._plans.append(plan)
            self._left += [Task(job, part) for part in parts]
            self.made += made

    @property
    def frames(self) -> int:
        """About how many frames are labelled."""
        return sum(plan.frames for plan in self._plans)

    @property
    def notes(self) -> list[str]:
        """What the user should know before."""
        return [note for plan in self._plans for note in plan.notes]

    def work(
        self, told: Callable[[int], object], *, workers: int = 1, ray: str | None = None
    ) -> list[tuple[Job, PartResult]]:
        """Label everything; ``told`` is called with numbers of frames as they are labelled.

        A bag gets its name as soon as it is whole.

        Raises:
            LemoreError: the network, the device, the disk or the workers failed; what is finished
                by then is kept for another run.

        """
        results = self._finished(set())
        for task, result in self._spread(told, workers, ray):
            self._left.remove(task)
            if workers > 1 or ray:
                told(result.frames)
            results += self._finished({job for job, _ in results})
        return results

    def _spread(
        self, told: Callable[[int], object], workers: int, ray: str | None
    ) -> Iterator[Done]:
        tasks = list(self._left)
        if not tasks:
            return iter(())
        if ray:
            from lemore_ros.bags.segmentation.spread_ray import over_ray

            return over_ray(tasks, ray)
        if workers > 1:
            return over_processes(tasks, min(workers, len(tasks)))
        return here(tasks, told)

    def _finished(self, before: set[Job]) -> list[tuple[Job, PartResult]]:
        busy = {task.job for task in self._left} | before
        return [
            (plan.job, Work(plan.job.output).finish(list(plan.parts)))
            for plan in self._plans
            if plan.job not in busy
        ]
