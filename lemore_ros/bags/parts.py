"""Segment bags in parts, which worker processes share and interrupted runs resume.

A part is a range of the bag's time and becomes a file of the result. Parts depend on the bag and
the options, not on workers or interruptions; hence the result does not either.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from lemore_core.common.child import worker_processes
from lemore_core.common.errors import GpuContextLostError, in_one_line
from lemore_core.common.files import write_whole
from lemore_core.common.memory import usable_processors
from lemore_core.export.onnx_file import read_model_card
from lemore_core.segmentation import refinement_of
from lemore_core.segmenter import resolve_checkpoint
from lemore_core.taxonomy import load_taxonomy
from lemore_ros.bags.errors import BagError, ReadErrors
from lemore_ros.bags.options import SegmentOptions
from lemore_ros.bags.reader import Bag, bag_name
from lemore_ros.bags.segment import NS, BagSegmenter, Camera, Part, PartResult
from lemore_ros.bags.topics import TopicProbe, find_cameras
from lemore_ros.bags.types import CDR
from lemore_ros.bags.writer import join_parts, report_disk_full, synchronize

ATTEMPTS = 2
MOST_PARTS, LEAST_FRAMES = 64, 100


class BagSegmentation:
    """Segment bags in parts; several ``inputs`` become bags in the folder ``output``.

    ``frames`` is about the number of images, ``resumed`` of them are from an earlier run.
    ``notes`` are for the user; ``left_out`` are cameras and bags that cannot be read, with the
    reason. If that holds for all bags, it is raised. ``results`` are input, output and result of
    the bags that are complete, also after an error.
    """

    def __init__(
        self, inputs: Sequence[Path], output: Path, options: SegmentOptions, *, resume: bool
    ) -> None:
        self.frames = 0
        self.notes: list[str] = []
        self.left_out: list[str] = []
        self.results: list[tuple[Path, Path, PartResult]] = []
        self._inputs, self._failed = len(inputs), set[Path]()
        self._left: list[Part] = []
        self._options, self._output = options, output.absolute()
        self._segmenter = BagSegmenter(options)
        self._parts: dict[Path, list[Part]] = {}
        for source, target in _find_outputs(inputs, self._output):
            if resume and len(inputs) > 1 and target.exists():
                continue  # complete
            if parts := self._begin(source, target, resume=resume):
                self._parts[target] = parts
        done = {part: part.result() for parts in self._parts.values() for part in parts}
        self._left = [part for part, result in done.items() if result is None]
        self.resumed = sum(result.frames for result in done.values() if result is not None)

    def segment(
        self, on_progress: Callable[[int], object], *, workers: int = 1
    ) -> list[tuple[Path, Path, PartResult]]:
        """Segment all parts; return the input, output and result of each bag.

        After an error complete parts are kept. ``on_progress`` gets numbers of images.
        """
        with report_disk_full(self._output), closing(self._segmenter):
            self._finish()
            for part in self._write(on_progress, workers):
                self._left.remove(part)
                self._finish()
        return self.results

    def _begin(self, source: Path, output: Path, *, resume: bool) -> list[Part]:
        """Divide a bag into parts and make their folder, or check that of an earlier run.

        There are none if the bag cannot be read, or has no camera.
        """
        if output.exists():
            hint = 'it is complete, there is nothing to resume' if resume else 'not overwriting'
            msg = f'{output} exists already, {hint}'
            raise BagError(msg)
        options = self._options
        if options.storage == 'sqlite3' and {*'%?#'} & {*str(output)}:
            # rosbags would write another file
            msg = f'{output} has one of %?# in its path: write mcap there, or sqlite3 elsewhere'
            raise BagError(msg)
        try:
            bag = self._segmenter.open(source)
            cameras, others = _choose_cameras(bag, options)
            start_ns, end_ns = _span(bag, options)
        except (BagError, OSError) as error:
            self._leave_out(source, error)
            return []
        share = (end_ns - start_ns) / (bag.end_ns + 1 - bag.start_ns)
        frames = round(share * sum(probe.topic.count for _, probe in cameras))
        if options.rate:
            periods = round((end_ns - start_ns) / options.period_ns + 1)
            frames = min(frames, len(cameras) * periods)
        folder = output.parent / f'.{output.name}.part'
        _claim(folder, source, [bag.start_ns, bag.end_ns], options, resume=resume)
        self.frames += frames
        self.notes += bag.types.notes
        for topic in () if options.only_results else bag.topics:
            if topic.encoding != CDR:
                self.left_out.append(f'{source}: {topic} is not copied')
        for probe in others:
            lines = self.left_out if probe.is_unreadable else self.notes
            lines.append(f'{source}: {probe.topic.name} is not segmented: {probe.problem}')
        borders = divide(start_ns, end_ns, frames, options.file_frames, options.period_ns)
        return [
            Part(source, folder / f'{output.name}_{number}', cameras, *times)
            for number, times in enumerate(pairwise(borders))
        ]

    def _write(self, on_progress: Callable[[int], object], workers: int) -> Iterator[Part]:
        """Yield the parts as they are complete; retry once after a worker process died."""
        left = list(self._left)
        if workers == 1 or not left:
            for part in left:
                if part.source not in self._failed:
                    try:
                        self._segmenter.write(part, on_progress)
                        yield part
                    except BagError as error:
                        self._leave_out(part.source, error)
            return
        for _ in range(ATTEMPTS):
            pool = _start_workers(min(workers, len(left)))
            try:
                futures = {pool.submit(_write_in_worker, self._options, p): p for p in left}
                for future in as_completed(futures):
                    part = futures[future]
                    try:
                        on_progress(future.result())
                    except BagError as error:
                        self._leave_out(part.source, error)
                    left.remove(part)
                    if part.source not in self._failed:
                        yield part
            except BrokenProcessPool:
                continue
            finally:
                pool.shutdown(cancel_futures=True)
            return
        remedy = 'if memory is short, use --resume with fewer --workers'
        msg = f'worker processes died {ATTEMPTS} times, {len(left)} parts are left: {remedy}'
        raise BagError(msg)

    def _finish(self) -> None:
        """Join the parts of complete bags and give them their names."""
        left = {part.path.parent for part in self._left}
        outputs = [o for o, parts in self._parts.items() if parts[0].path.parent not in left]
        for output in outputs:
            parts = self._parts.pop(output)
            try:
                self.results.append((parts[0].source, output, _join(parts, output)))
            except BagError as error:
                self._leave_out(parts[0].source, error)

    def _leave_out(self, source: Path, error: Exception) -> None:
        """Leave a bag out; raise the error if no other one is left."""
        self._failed.add(source)
        if len(self._failed) == self._inputs:
            raise error
        self.left_out.append(f'not segmented: {in_one_line(error)}')
        self._left = [part for part in self._left if part.source != source]
        self._parts = {o: parts for o, parts in self._parts.items() if parts[0].source != source}


def divide(start_ns: int, end_ns: int, frames: int, file_frames: int, period_ns: int) -> list[int]:
    """Return the borders of equal parts of the time from ``start_ns`` to before ``end_ns``.

    A part has about ``file_frames`` of the ``frames`` to segment, and whole periods.
    """
    file_frames = file_frames or max(LEAST_FRAMES, math.ceil(frames / MOST_PARTS))
    count = max(1, math.ceil(frames / file_frames))
    length = math.ceil((end_ns - start_ns) / count / period_ns) * period_ns
    return [*range(start_ns, end_ns, length), end_ns]


def _find_outputs(inputs: Sequence[Path], output: Path) -> list[tuple[Path, Path]]:
    """Return the inputs and their outputs."""
    sources = [path.resolve() for path in inputs]
    if len(sources) == 1:
        return [(sources[0], output)]
    stems = [bag_name(path) for path in sources]
    counts = Counter(stems)
    # of one name, from several folders
    names = [
        f'{path.parent.name}_{stem}' if counts[stem] > 1 else stem
        for path, stem in zip(sources, stems, strict=True)
    ]
    ((name, count),) = Counter(names).most_common(1)
    if count > 1:
        stem = stems[names.index(name)]
        msg = f'{count} inputs are called {stem!r}: segment them one at a time'
        raise BagError(msg)
    return [(path, output / name) for path, name in zip(sources, names, strict=True)]


def _choose_cameras(
    bag: Bag, options: SegmentOptions
) -> tuple[tuple[Camera, ...], list[TopicProbe]]:
    """Return the cameras to segment, and the image topics that are unexpectedly none."""
    found, others = find_cameras(bag, options.topic)
    prefix = options.prefix
    cameras = tuple((f'{prefix}/{name}' if name else prefix, p) for name, p in found.items())
    results = {f'{prefix}/{output}' for prefix, _ in cameras for output in options.outputs}
    taken = sorted(results & {topic.name for topic in bag.topics})
    if taken and not options.only_results:
        remedy = f'another --prefix than {options.prefix}, or write --only-results'
        msg = f'{bag.path} has a topic {taken[0]} already: give the results {remedy}'
        raise BagError(msg)
    return cameras, others


def _span(bag: Bag, options: SegmentOptions) -> tuple[int, int]:
    """Return the first time to segment, and the time after the last."""
    start_ns, end_ns = bag.start_ns + round(options.skip * NS), bag.end_ns + 1
    if start_ns >= end_ns:
        seconds = (bag.end_ns - bag.start_ns) / NS
        msg = f'skip is {options.skip:g} s, {bag.path} ends after {seconds:.1f} s'
        raise BagError(msg)
    if options.duration < (end_ns - start_ns) / NS:
        end_ns = start_ns + round(options.duration * NS)
    return start_ns, end_ns


def _claim(
    folder: Path, source: Path, span: list[int], options: SegmentOptions, *, resume: bool
) -> None:
    """Make the folder of a bag's parts, or check that an interrupted run made it for the same."""
    checkpoint = resolve_checkpoint(options.model, options.dataset)
    # refuse wrong class groups before anything is written
    dataset = options.dataset
    own = load_taxonomy(dataset) if dataset else read_model_card(checkpoint).taxonomy
    refinement_of(options, own)
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    # SQLite's index of a write-ahead log is not part of the recording
    sizes = [(f.name, f.stat().st_size) for f in files if f.is_file() and f.suffix != '.db3-shm']
    weights = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    identity = json.dumps([source.name, sizes, span, weights, asdict(options)])
    digest, path = hashlib.sha256(identity.encode()).hexdigest(), folder / 'job.sha256'
    if not path.exists():
        write_whole(path, digest)
    elif not resume:
        msg = f'{folder} holds an interrupted run: resume it with --resume, or delete it'
        raise BagError(msg)
    elif path.read_text('utf-8') != digest:
        remedy = 'give the same, or delete it and begin again'
        msg = f'{folder} was begun with other arguments, weights or recording: {remedy}'
        raise BagError(msg)


def _join(parts: Sequence[Part], output: Path) -> PartResult:
    """Make complete parts the bag ``output``, and return the sum of their results."""
    results = [result for part in parts if (result := part.result()) is not None]
    assert len(results) == len(parts), f'a part of {output} is missing'
    folder = parts[0].path.parent
    if not join_parts([part.path for part in parts], folder / 'complete'):
        msg = f'no messages are left to be written to {output}: see --skip, --duration'
        raise BagError(msg)
    os.rename(folder / 'complete', output)  # noqa: PTH104 - a folder must not be moved into another
    synchronize(output.parent)
    shutil.rmtree(folder)
    problems, errors = Counter[str](), ReadErrors()
    for result in results:
        problems.update(result.problems)
        for place, messages in result.read_errors.items():
            errors.add(place, messages)  # that of a place between two parts is the same
    return PartResult(sum(result.frames for result in results), problems, errors.places)


def _start_workers(workers: int) -> ProcessPoolExecutor:
    """Start processes that share the processors."""
    context = worker_processes()
    usable = sorted(usable_processors())
    shares = context.Queue()
    for i in range(workers):
        shares.put(set(usable[i::workers] or usable))
    return ProcessPoolExecutor(workers, context, _take_share, (shares,))


def _take_share(shares: Any) -> None:
    # backends choose the number of threads by it
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, shares.get())


_segmenter_of = cache(BagSegmenter)  # of a worker process


def _write_in_worker(options: SegmentOptions, part: Part) -> int:
    """Write a part, return its images; exit if the GPU is lost, so that another process retries."""
    try:
        return _segmenter_of(options).write(part, lambda _: None).frames
    except GpuContextLostError:
        # a normal exit would abort when it frees GPU memory
        os._exit(1)
