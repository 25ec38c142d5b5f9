"""Labels the images of a bag: plans the parts of the result and makes any one of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lemore_core.segmenter import Segmenter, resolve_checkpoint
from lemore_core.system.allocator import keep_freed_memory
from lemore_core.system.cpu import usable_processors
from lemore_ros.bags.cameras import CameraTopic, find_cameras
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.reader import Bag, Record, open_bag
from lemore_ros.bags.io.writer import BagWriter, new_file, take_whole
from lemore_ros.bags.segmentation.messages import latched
from lemore_ros.bags.segmentation.options import ModelOptions, SegmentOptions
from lemore_ros.bags.segmentation.parts import NS, Part, Slots, divide
from lemore_ros.bags.segmentation.pipeline import made_apart
from lemore_ros.bags.segmentation.stages import Group, Stages, group
from lemore_ros.bags.segmentation.work import PartResult, Work

T = TypeVar('T')
Told = Callable[[int], object]
MOST_COMPRESSORS = 4
# stages even out their pace with a few images between them, where these are small
MOST_AHEAD, AHEAD_BYTES = 4, 8 * 2**20


@dataclass(frozen=True)
class Job:
    """A bag to label, and the bag that comes of it."""

    source: Path
    output: Path
    options: SegmentOptions


@dataclass(frozen=True)
class Plan:
    """What a job comes to: its parts, about how many frames are labelled, and what is left out.

    ``notes`` are for the user: what was assumed, and what is not labelled.
    """

    job: Job
    parts: tuple[Part, ...]
    frames: int
    notes: tuple[str, ...]


class Session:
    """An open bag and a loaded network: makes parts, one after the other.

    ``is_plain``: without the steps working at the same time, to compare with.
    """

    def __init__(
        self,
        job: Job,
        *,
        segmenter: Segmenter | None = None,
        is_plain: bool = False,
    ) -> None:
        keep_freed_memory()
        self.job = job
        self._is_plain = is_plain
        self._stack = ExitStack()
        self.segmenter = segmenter
        try:
            self.bag = self._stack.enter_context(open_bag(job.source))
            self.cameras, self.unseen = find_cameras(self.bag, job.options)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Session:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def start_ns(self) -> int:
        """When the time begins that is asked for."""
        return self.bag.start_ns + round(self.job.options.start_s * NS)

    def plan(self) -> Plan:
        """Work out the parts.

        Raises:
            BagError: the bag ends before the time that is asked for begins.

        """
        options, bag = self.job.options, self.bag
        start_ns, end_ns = self.start_ns, bag.end_ns
        if start_ns > end_ns:
            seconds = (end_ns - bag.start_ns) / NS
            msg = f'start is {options.start_s:g} s, {bag.path} ends after {seconds:.1f} s'
            raise BagError(msg)
        if options.duration_s < (end_ns - start_ns) / NS:
            end_ns = start_ns + round(options.duration_s * NS) - 1
        share = (end_ns - start_ns + 1) / (bag.end_ns - bag.start_ns + 1)
        frames = sum(round(camera.topic.count * share) for camera in self.cameras)
        if options.rate_hz:
            slots = len(self.cameras) * round((end_ns - start_ns) / NS * options.rate_hz + 1)
            frames = min(frames, slots)
        parts = divide(start_ns, end_ns, frames, options.file_frames, options.rate_hz)
        return Plan(self.job, tuple(parts), frames, tuple(self._notes()))

    def make(self, part: Part, told: Told = lambda _: None) -> PartResult:
        """Make a part's file and note it; ``told`` is called with every few frames labelled.

        Raises:
            LemoreError: the network, the device or the disk failed.

        """
        work, options = Work(self.job.output), self.job.options
        name = f'{self.job.output.name}_{part.index}'
        topics = () if options.only_results else self.bag.topics
        threads = 1 if self._is_plain else min(MOST_COMPRESSORS, len(usable_processors()))
        with new_file(work.files, name, options, threads=threads) as writer:
            target = BagWriter(writer, topics, self.cameras, self.bag.types, options)
            result = self._run(part, target, told)
            is_empty = not any(writer.counts.values())
        result.read_errors = dict(self.bag.errors.places)
        written = take_whole(work.files, name)
        if is_empty:
            written.file.unlink()
        else:
            result.about = written.metadata
        work.note(part, result)
        return result

    def _run(self, part: Part, target: BagWriter, told: Told) -> PartResult:
        result, problems, options = PartResult(None), Counter[str](), self.job.options
        segmenter = self._loaded()
        refinement, taxonomy = options.model.refinement(segmenter.taxonomy)
        stages = Stages(
            segmenter,
            refinement,
            taxonomy,
            options.outputs,
            alpha=options.overlay_alpha,
            only_results=options.only_results,
        )
        batch_bytes = segmenter.status.batch * max(c.image_bytes for c in self.cameras)
        ahead = min(MOST_AHEAD, max(1, AHEAD_BYTES // batch_bytes))
        with ExitStack() as stack:

            def apart(items: Iterable[T]) -> Iterable[T]:
                if self._is_plain:
                    return items
                return stack.enter_context(made_apart(items, ahead=ahead))

            # decoded by the thread that reads: another stage would hold one more image
            read = apart(map(stages.decode, self._groups(part, segmenter.status.batch)))
            labelled = apart(map(stages.segment, read))
            for batch in apart(stages.encode(labelled)):
                # on this thread: SQLite wants a file to be written by the thread that opened it
                if batch.messages and target.is_new:
                    time_ns = batch.messages[0].record.time_ns
                    target.describe(latched(taxonomy, refinement.min_confidence, time_ns), time_ns)
                while batch.messages:
                    # a message that is written is let go of
                    target.write(batch.messages.popleft())
                result.frames += batch.frames
                problems.update(batch.problems)
                told(batch.frames)
        result.problems = dict(problems)
        return result

    def _groups(self, part: Part, batch: int) -> Iterator[Group]:
        options = self.job.options
        cameras = {(c.topic.name, c.topic.type): c for c in self.cameras}
        slots = Slots(self.start_ns, options.rate_hz)

        def camera_of(record: Record) -> CameraTopic | None:
            camera = cameras.get((record.topic.name, record.topic.type))
            is_wanted = camera is not None and slots.takes(record.topic.name, record.time_ns)
            return camera if is_wanted else None

        topics = [c.topic for c in self.cameras] if options.only_results else self.bag.topics
        records = self.bag.messages(topics, start_ns=part.start_ns, end_ns=part.end_ns)
        return group(records, camera_of, batch=batch)

    def _loaded(self) -> Segmenter:
        if self.segmenter is None:
            self.segmenter = self.job.options.model.load()
        return self.segmenter

    def _notes(self) -> Iterator[str]:
        for probe in self.unseen:
            yield f'{probe.topic.name} is not segmented: {probe.problem}'
        borrowed = sorted(self.bag.types.borrowed)
        if borrowed:
            yield (
                f'{self.bag.path} does not define {", ".join(borrowed)}: taken as ROS 2 '
                f'{self.bag.types.distribution} defines them'
            )


def begin(job: Job, *, resume: bool) -> tuple[Plan, list[Part], int]:
    """Plan a job and open its folder; return the plan, the parts to make, and the frames made.

    Raises:
        BagError: the bag cannot be labelled, or its result cannot be begun.

    """
    refuse_existing(job.output, resume=resume)
    with Session(job) as session:
        plan = session.plan()
        job.options.model.refinement(_taxonomy(job.options.model))
        work = Work(job.output)
        work.begin(_identity(job, session.bag), resume=resume)
    results = {part: work.result_of(part) for part in plan.parts}
    made = sum(result.frames for result in results.values() if result is not None)
    return plan, [part for part, result in results.items() if result is None], made


def refuse_existing(output: Path, *, resume: bool) -> None:
    """Refuse to overwrite a bag, before anything costs time.

    Raises:
        BagError: it exists.

    """
    if output.exists():
        hint = 'it is finished, there is nothing to resume' if resume else 'not overwriting'
        msg = f'{output} exists already, {hint}'
        raise BagError(msg)


def _taxonomy(model: ModelOptions) -> Any:
    from lemore_core.export.description import describe
    from lemore_core.taxonomy import load_taxonomy

    if model.dataset:
        return load_taxonomy(model.dataset)
    return describe(resolve_checkpoint(model.model, model.dataset)).taxonomy


def _identity(job: Job, bag: Bag) -> dict[str, Any]:
    """Return what must be the same for a run to go on with another's parts."""
    source = job.source
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    checkpoint = resolve_checkpoint(job.options.model.model, job.options.model.dataset)
    return {
        'input': source.name,
        'sizes': {path.name: path.stat().st_size for path in files if path.is_file()},
        'span': [bag.start_ns, bag.end_ns],
        'weights': hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        'options': job.options.as_json(),
    }
