"""Segment bags in parts, which worker processes share and interrupted runs resume.

A part is a range of the bag's time and becomes a file of the result. Parts depend on the bag and
the options, not on workers or interruptions; hence the result does not either.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from lemore_core.common.cpu import usable_processors
from lemore_core.common.errors import GpuContextLostError
from lemore_core.common.files import write_whole
from lemore_core.export.onnx_file import read_model_card
from lemore_core.segmenter import resolve_checkpoint
from lemore_core.taxonomy import load_taxonomy
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.options import SegmentOptions
from lemore_ros.bags.segment import NS, RESULT_FILE, BagSegmenter, Camera, PartResult
from lemore_ros.bags.writer import join_parts, report_disk_full, synchronize

ATTEMPTS = 2
MOST_PARTS, LEAST_FRAMES = 64, 100


class Job(NamedTuple):
    """A bag to segment, and the bag to write."""

    source: Path
    output: Path
    options: SegmentOptions

    @property
    def folder(self) -> Path:
        """The folder beside the result that holds complete parts until all are."""
        return self.output.parent / f'.{self.output.name}.part'


class Part(NamedTuple):
    """Messages of a job from ``start_ns`` to before ``end_ns``, and the cameras to segment."""

    job: Job
    number: int
    start_ns: int
    end_ns: int
    cameras: tuple[Camera, ...] = ()

    @property
    def path(self) -> Path:
        """The one-file bag to write."""
        return self.job.folder / f'{self.job.output.name}_{self.number}'

    def result(self) -> PartResult | None:
        """Return the result of a complete part, None for another one."""
        path = self.path / RESULT_FILE
        return PartResult(**json.loads(path.read_bytes())) if path.exists() else None


def find_jobs(inputs: Sequence[Path], output: Path, options: SegmentOptions) -> list[Job]:
    """Return a job for each input; several inputs become bags in the folder ``output``.

    Raises:
        BagError: two inputs have one name.
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


def divide(start_ns: int, end_ns: int, frames: int, file_frames: int, period_ns: int) -> list[int]:
    """Return the borders of equal parts of the time from ``start_ns`` to before ``end_ns``.

    A part has about ``file_frames`` of the ``frames`` to segment, 0 for :data:`LEAST_FRAMES` or more
    in :data:`MOST_PARTS`. Borders are at multiples of ``period_ns``.
    """
    file_frames = file_frames or max(LEAST_FRAMES, math.ceil(frames / MOST_PARTS))
    count = max(1, math.ceil(frames / file_frames))
    length = math.ceil((end_ns - start_ns) / count / period_ns) * period_ns
    return [*range(start_ns, end_ns, length), end_ns]


class BagSegmentation:
    """Jobs divided into parts, with their output folders.

    ``frames`` is about the number of images to segment, ``resumed`` the number done by an earlier
    run; ``notes`` are for the user.

    Raises:
        LemoreError: a bag cannot be segmented, or its result cannot be written.
    """

    def __init__(self, jobs: Sequence[Job], *, resume: bool) -> None:
        self._worker = Worker()
        self._parts: dict[Job, list[Part]] = {}
        self.frames = 0
        self.notes: list[str] = []
        for job in jobs:
            if resume and len(jobs) > 1 and job.output.exists():
                continue  # complete
            self._begin(job, resume=resume)
        done = {part: part.result() for parts in self._parts.values() for part in parts}
        self._left = [part for part, result in done.items() if result is None]
        self.resumed = sum(result.frames for result in done.values() if result is not None)

    def segment(
        self, on_progress: Callable[[int], object], *, workers: int = 1
    ) -> list[tuple[Job, PartResult]]:
        """Segment all parts; a bag is renamed to its output when it is complete.

        ``on_progress`` is called with numbers of images.

        Raises:
            LemoreError: the network, the device, the disk or the workers failed; complete parts
                are kept.
        """
        results = self._finish()
        try:
            if workers > 1 and self._left:
                for part, result in in_processes(self._left, workers):
                    self._left.remove(part)
                    on_progress(result.frames)
                    results += self._finish()
            while self._left:
                self._worker.segment(self._left[0], on_progress)
                del self._left[0]
                results += self._finish()
        finally:
            self._worker.close()
        return results

    def _begin(self, job: Job, *, resume: bool) -> None:
        """Divide a job into parts and make its folder, or check that of an earlier run."""
        if job.output.exists():
            hint = 'it is complete, there is nothing to resume' if resume else 'not overwriting'
            msg = f'{job.output} exists already, {hint}'
            raise BagError(msg)
        segmenter, options = self._worker.open(job), job.options
        bag, cameras, start_ns = segmenter.bag, segmenter.cameras, segmenter.start_ns
        end_ns = bag.end_ns + 1
        if start_ns >= end_ns:
            seconds = (bag.end_ns - bag.start_ns) / NS
            msg = f'skip is {options.skip:g} s, {job.source} ends after {seconds:.1f} s'
            raise BagError(msg)
        if options.duration < (end_ns - start_ns) / NS:
            end_ns = start_ns + round(options.duration * NS)
        share = (end_ns - start_ns) / (bag.end_ns + 1 - bag.start_ns)
        frames = round(share * sum(camera.topic.count for camera in cameras))
        if options.rate:
            slots = round((end_ns - start_ns) / options.period_ns + 1)
            frames = min(frames, len(cameras) * slots)
        _claim(job, [bag.start_ns, bag.end_ns], resume=resume)
        borders = divide(start_ns, end_ns, frames, options.file_frames, options.period_ns)
        self._parts[job] = [
            Part(job, number, *times, tuple(cameras))
            for number, times in enumerate(pairwise(borders))
        ]
        self.frames += frames
        self.notes += segmenter.notes

    def _finish(self) -> list[tuple[Job, PartResult]]:
        """Join the parts of complete jobs and give them their names."""
        unfinished = {part.job for part in self._left}
        finished = [job for job in self._parts if job not in unfinished]
        return [(job, _join(job, self._parts.pop(job))) for job in finished]


class Worker:
    """Segment parts one after the other, keeping the bag and the network open."""

    def __init__(self) -> None:
        self._opened: tuple[Job, BagSegmenter] | None = None

    def open(self, job: Job, cameras: Sequence[Camera] = ()) -> BagSegmenter:
        """Open a bag unless it is open; the network is kept if its options are the same."""
        network = None
        if self._opened is not None:
            opened, segmenter = self._opened
            if opened == job:
                return segmenter
            network = segmenter.network if opened.options.model == job.options.model else None
        self.close()
        segmenter = BagSegmenter(job.source, job.options, cameras=cameras, network=network)
        self._opened = job, segmenter
        return segmenter

    def segment(
        self, part: Part, on_progress: Callable[[int], object] = lambda _: None
    ) -> PartResult:
        """Segment a part, unless a process that died has completed it."""
        segmenter = self.open(part.job, part.cameras)
        done = part.result()
        return done or segmenter.write_part(part.path, part.start_ns, part.end_ns, on_progress)

    def close(self) -> None:
        """Close the bag."""
        if self._opened is not None:
            self._opened[1].close()
        self._opened = None


_worker = Worker()  # of a worker process


def segment_part(part: Part) -> PartResult:
    """Segment a part in a worker process; exit if it lost its GPU, so that another one retries."""
    try:
        return _worker.segment(part)
    except GpuContextLostError:
        # a normal exit would abort when it frees GPU memory
        os._exit(1)


def in_processes(parts: Sequence[Part], workers: int) -> Iterator[tuple[Part, PartResult]]:
    """Segment parts in processes that share the processors; retry once after a process died."""
    # forked processes would copy locks that other threads hold
    context = multiprocessing.get_context('spawn')
    usable = sorted(usable_processors())
    left = list(parts)
    for _ in range(ATTEMPTS):
        workers = min(workers, len(left))
        shares = context.Queue()
        for i in range(workers):
            shares.put(set(usable[i::workers]) or set(usable))
        pool = ProcessPoolExecutor(workers, context, _take_share, (shares,))
        try:
            futures = {pool.submit(segment_part, part): part for part in left}
            for future in as_completed(futures):
                result = future.result()
                left.remove(futures[future])
                yield futures[future], result
        except BrokenProcessPool:
            continue
        finally:
            pool.shutdown(cancel_futures=True)
        return
    msg = (
        f'worker processes died {ATTEMPTS} times, {len(left)} parts are left: if memory is short, '
        'use --resume with fewer --workers'
    )
    raise BagError(msg)


def _take_share(shares: Any) -> None:
    # backends choose the number of threads by it
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, shares.get())


def _join(job: Job, parts: Sequence[Part]) -> PartResult:
    total, files = PartResult(), job.folder / 'complete'
    for result in (part.result() for part in parts):
        assert result is not None, f'a part of {job.folder} is missing'
        total.add(result)
    with report_disk_full(job.folder):
        if not join_parts([part.path for part in parts], files):
            msg = f'no messages are left to be written to {job.output}: see --skip, --duration'
            raise BagError(msg)
    os.rename(files, job.output)  # noqa: PTH104 - a folder must not be moved into another
    synchronize(job.output.parent)
    shutil.rmtree(job.folder)
    return total


def _claim(job: Job, span: list[int], *, resume: bool) -> None:
    """Make the folder of a job, or check that the interrupted run in it is the same job."""
    model = job.options.model
    checkpoint = resolve_checkpoint(model.model, model.dataset)
    # refuse wrong class groups before anything is written
    classes = (
        load_taxonomy(model.dataset) if model.dataset else read_model_card(checkpoint).taxonomy
    )
    model.refinement(classes)
    files = sorted(job.source.iterdir()) if job.source.is_dir() else [job.source]
    # SQLite's index of a write-ahead log is not part of the recording
    sizes = [(f.name, f.stat().st_size) for f in files if f.is_file() and f.suffix != '.db3-shm']
    weights = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    identity = json.dumps([job.source.name, sizes, span, weights, asdict(job.options)])
    digest, path = hashlib.sha256(identity.encode()).hexdigest(), job.folder / 'job.sha256'
    if not path.exists():
        with report_disk_full(job.folder):
            job.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, digest)
    elif not resume:
        msg = f'{job.folder} holds an interrupted run: resume it with --resume, or delete it'
        raise BagError(msg)
    elif path.read_text('utf-8') != digest:
        msg = (
            f'{job.folder} was begun with other arguments, weights or recording: '
            'give the same, or delete it and begin again'
        )
        raise BagError(msg)
