"""An open bag and a loaded network: divides the bag, and segments one part after the other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from lemore_core.common.cpu import usable_processors
from lemore_core.common.memory import keep_freed_memory
from lemore_core.segmenter import Segmenter, resolve_checkpoint
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.bag import Bag, Record
from lemore_ros.bags.io.reader import open_bag
from lemore_ros.bags.roles import CameraTopic, find_cameras
from lemore_ros.bags.segmentation.divide import NS, Part, Slots, divide
from lemore_ros.bags.segmentation.messages import latched
from lemore_ros.bags.segmentation.options import Job, ModelOptions
from lemore_ros.bags.segmentation.read_ahead import read_ahead
from lemore_ros.bags.segmentation.stages import Group, Stages, group
from lemore_ros.bags.segmentation.unfinished import PartResult, UnfinishedBag
from lemore_ros.bags.segmentation.writer import BagWriter, new_file, take_whole

MOST_COMPRESSORS = 4
# key frames of a video are closer together than this
KEY_FRAME_NS = 10 * NS
# stages even out their pace with a few images between them, where these are small
MOST_AHEAD, AHEAD_BYTES = 4, 8 * 2**20


class Division(NamedTuple):
    """What a job comes to: its parts, about how many images are segmented, and notes for the user."""

    parts: list[Part]
    frames: int
    notes: list[str]


class Session:
    """The bag of a job, and the network, which is loaded when it is first needed.

    Raises:
        BagError: there is no such bag, or no camera in it.
    """

    def __init__(self, job: Job, *, segmenter: Segmenter | None = None) -> None:
        keep_freed_memory()
        self.job = job
        self.segmenter = segmenter
        self._stack = ExitStack()
        try:
            self.bag = self._stack.enter_context(open_bag(job.source, job.options.max_pixels))
            self._cameras, self._others = find_cameras(self.bag, job.options)
        except BaseException:
            self.close()
            raise
        self._start_ns = self.bag.start_ns + round(job.options.skip * NS)

    def close(self) -> None:
        """Close the bag."""
        self._stack.close()

    def division(self) -> Division:
        """Work out the parts.

        Raises:
            BagError: the bag ends before the time that is asked for begins.
        """
        options, bag = self.job.options, self.bag
        start_ns, end_ns = self._start_ns, bag.end_ns
        if start_ns > end_ns:
            seconds = (end_ns - bag.start_ns) / NS
            msg = f'skip is {options.skip:g} s, {bag.path} ends after {seconds:.1f} s'
            raise BagError(msg)
        if options.duration < (end_ns - start_ns) / NS:
            end_ns = start_ns + round(options.duration * NS) - 1
        share = (end_ns - start_ns + 1) / (bag.end_ns - bag.start_ns + 1)
        frames = sum(round(camera.topic.count * share) for camera in self._cameras)
        if options.rate:
            slots = len(self._cameras) * round((end_ns - start_ns) / NS * options.rate + 1)
            frames = min(frames, slots)
        parts = divide(start_ns, end_ns, frames, options.file_frames, options.rate)
        notes = [f'{p.topic.name} is not segmented: {p.problem}' for p in self._others]
        return Division(parts, frames, [*notes, *bag.types.notes])

    def segment(self, part: Part, on_progress: Callable[[int], object]) -> PartResult:
        """Segment a part into its file; ``on_progress`` is called with every few images.

        Raises:
            LemoreError: the network, the device or the disk failed.
        """
        unfinished, options = UnfinishedBag(self.job.output), self.job.options
        name = f'{self.job.output.name}_{part.index}'
        topics = () if options.only_results else self.bag.topics
        threads = min(MOST_COMPRESSORS, len(usable_processors()))
        with new_file(unfinished.files, name, options, threads=threads) as writer:
            target = BagWriter(writer, topics, self._cameras, self.bag.types, options)
            result = self._write(part, target, on_progress)
        result.read_errors = dict(self.bag.errors.places)
        result.about = take_whole(unfinished.files, name)
        unfinished.record(part, result)
        return result

    def _write(
        self, part: Part, target: BagWriter, on_progress: Callable[[int], object]
    ) -> PartResult:
        if self.segmenter is None:
            self.segmenter = self.job.options.model.load()
        result, problems, segmenter = PartResult(None), Counter[str](), self.segmenter
        refinement, taxonomy = self.job.options.model.refinement(segmenter.taxonomy)
        stages = Stages(segmenter, refinement, taxonomy, self.job.options)
        stages.prime(self._video_before(part.start_ns))
        batch_bytes = segmenter.status.batch * max(c.image_bytes for c in self._cameras)
        ahead = min(MOST_AHEAD, max(1, AHEAD_BYTES // batch_bytes))
        with ExitStack() as stack:
            # decoded by the thread that reads: another stage would hold one more image
            groups = map(stages.decode, self._groups(part, segmenter.status.batch))
            read = stack.enter_context(read_ahead(groups, ahead))
            segmented = stack.enter_context(read_ahead(map(stages.segment, read), ahead))
            # written by this thread: SQLite wants the one that opened the file
            for batch in stack.enter_context(read_ahead(stages.encode(segmented), ahead)):
                if batch.messages and target.is_new:
                    time_ns = batch.messages[0].time_ns
                    target.describe(latched(taxonomy, refinement.min_confidence, time_ns), time_ns)
                while batch.messages:
                    # a message that is written is let go of
                    target.write(batch.messages.popleft())
                result.frames += batch.frames
                problems.update(batch.problems)
                on_progress(batch.frames)
        result.problems = dict(problems)
        return result

    def _video_before(self, time_ns: int) -> Iterator[Record]:
        topics = [c.topic for c in self._cameras if c.topic.transport.is_video]
        if topics:
            yield from self.bag.messages(topics, start_ns=time_ns - KEY_FRAME_NS, end_ns=time_ns)

    def _groups(self, part: Part, batch: int) -> Iterator[Group]:
        options = self.job.options
        cameras = {(c.topic.name, c.topic.type): c for c in self._cameras}
        slots = Slots(self._start_ns, options.rate)

        def camera_of(record: Record) -> CameraTopic | None:
            camera = cameras.get((record.topic.name, record.topic.type))
            is_wanted = camera is not None and slots.takes(record.topic.name, record.time_ns)
            return camera if is_wanted else None

        topics = [c.topic for c in self._cameras] if options.only_results else self.bag.topics
        records = self.bag.messages(topics, start_ns=part.start_ns, end_ns=part.end_ns)
        return group(records, camera_of, batch=batch)


def begin(job: Job, *, resume: bool) -> Division:
    """Divide a job and open its folder.

    Raises:
        BagError: the bag cannot be segmented, or its result cannot be begun.
    """
    unfinished = UnfinishedBag(job.output)
    unfinished.refuse_existing(resume=resume)
    session = Session(job)
    try:
        division = session.division()
        job.options.model.refinement(_taxonomy(job.options.model))
        unfinished.begin(_identity(job, session.bag), resume=resume)
    finally:
        session.close()
    return division


def _taxonomy(model: ModelOptions) -> Any:
    from lemore_core.export.model_card import read_model_card
    from lemore_core.taxonomy import load_taxonomy

    if model.dataset:
        return load_taxonomy(model.dataset)
    return read_model_card(resolve_checkpoint(model.model, model.dataset)).taxonomy


def _identity(job: Job, bag: Bag) -> dict[str, Any]:
    """Return what must be the same for a run to go on with another's parts."""
    source = job.source
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    checkpoint: Path = resolve_checkpoint(job.options.model.model, job.options.model.dataset)
    return {
        'input': source.name,
        'sizes': {path.name: path.stat().st_size for path in files if path.is_file()},
        'span': [bag.start_ns, bag.end_ns],
        'weights': hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        'options': job.options.as_json(),
    }
