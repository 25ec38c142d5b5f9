"""Segment the images of a bag: read and decode, segment, encode and write at the same time."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lemore_core.common.cpu import usable_processors
from lemore_core.common.errors import GpuContextLostError, LemoreError
from lemore_core.common.memory import keep_freed_memory
from lemore_core.images.image import Image
from lemore_core.segmentation import Refinement, Segmentation
from lemore_core.segmenter import Segmenter
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.messages import latched, make_message, serialize
from lemore_ros.bags.options import SegmentOptions
from lemore_ros.bags.reader import Bag, Decoder, Record, open_bag
from lemore_ros.bags.topics import TopicProbe, find_cameras, name_cameras
from lemore_ros.bags.types import Topic
from lemore_ros.bags.writer import BagWriter, OutMessage, new_part
from lemore_ros.messages.rendering import Rendering
from lemore_ros.outputs import OUTPUTS

NS = 10**9
RESULT_FILE = 'result.json'
MOST_COMPRESSORS = 4
# key frames of a video are closer together than this
KEY_FRAME_NS = 10 * NS
# images queued between the stages if they are small; they even out the pace
MOST_AHEAD, AHEAD_BYTES = 4, 8 * 2**20
# recorded messages to write without waiting for an image
GROUP_BYTES = 8 * 2**20
# a message of this size is written before the next one is made
LARGE_BYTES = 2**20
T = TypeVar('T')


class Camera(NamedTuple):
    """An image topic to segment, the namespace of its results, and the bytes of an image."""

    topic: Topic
    prefix: str
    image_bytes: int


@dataclass
class PartResult:
    """Number of segmented images, reasons of the others with their counts, and read errors."""

    frames: int = 0
    problems: dict[str, int] = field(default_factory=dict)
    read_errors: dict[str, int] = field(default_factory=dict)

    def add(self, other: PartResult) -> None:
        """Add the counts of another part."""
        self.frames += other.frames
        self.problems = dict(Counter(self.problems) + Counter(other.problems))
        for place, count in other.read_errors.items():
            # a place may be in two parts
            self.read_errors[place] = max(count, self.read_errors.get(place, 0))


@dataclass
class Item:
    """A record, and the image and result if its camera is segmented."""

    record: Record
    camera: Camera | None = None
    image: Image | None = None
    result: Segmentation | None = None
    problem: str = ''


class BagSegmenter:
    """An open bag with its cameras, and the network, which is loaded for the first part.

    ``notes`` are for the user. ``cameras`` and ``segmenter`` are taken if known.
    """

    def __init__(
        self,
        source: Path,
        options: SegmentOptions,
        *,
        cameras: Sequence[Camera] | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        keep_freed_memory()
        self.options = options
        self.segmenter = segmenter
        with ExitStack() as stack:
            self.bag = stack.enter_context(open_bag(source, options.max_pixels))
            others: list[TopicProbe] = []
            if cameras is None:
                cameras, others = choose_cameras(self.bag, options)
            self.cameras = tuple(cameras)
            self._stack = stack.pop_all()
        notes = [f'{p.topic.name} is not segmented: {p.problem}' for p in others]
        self.notes = [*notes, *self.bag.types.notes]
        self.start_ns = self.bag.start_ns + round(options.skip * NS)

    def close(self) -> None:
        """Close the bag."""
        self._stack.close()

    def write_part(
        self,
        part: Path,
        start_ns: int,
        end_ns: int,
        on_progress: Callable[[int], object] = lambda _: None,
    ) -> PartResult:
        """Segment the images from ``start_ns`` to before ``end_ns`` into a new one-file bag.

        It also holds the result as JSON. ``on_progress`` is called with numbers of images.
        """
        topics = () if self.options.only_results else self.bag.topics
        prefixes = [camera.prefix for camera in self.cameras]
        threads = min(MOST_COMPRESSORS, len(usable_processors()))
        with new_part(part.parent, part.name, self.options, threads) as writer:
            types, outputs = self.bag.types, self.options.outputs
            target = BagWriter(writer, topics, types, prefixes, outputs)
            result = self._segment(target, start_ns, end_ns, on_progress)
            result.read_errors = dict(self.bag.errors.places)
            (writer.path / RESULT_FILE).write_text(json.dumps(asdict(result)), encoding='utf-8')
        return result

    def _segment(
        self, target: BagWriter, start_ns: int, end_ns: int, on_progress: Callable[[int], object]
    ) -> PartResult:
        if self.segmenter is None:
            self.segmenter = self.options.model.load()
        refinement, taxonomy = self.options.model.refinement(self.segmenter.taxonomy)
        steps = Steps(self.segmenter, refinement, taxonomy, self.options)
        steps.feed(self._video_before(start_ns))
        batch = self.segmenter.status.batch
        batch_bytes = batch * max(camera.image_bytes for camera in self.cameras)
        ahead = min(MOST_AHEAD, max(1, AHEAD_BYTES // batch_bytes))
        result, reported, is_new = steps.result, 0, True
        with ExitStack() as stack:
            # decoded by the thread that reads: another stage would hold one more image
            decoded = map(steps.decode, self._groups(start_ns, end_ns, batch))
            read = stack.enter_context(read_ahead(decoded, ahead))
            segmented = stack.enter_context(read_ahead(map(steps.segment, read), ahead))
            # written by this thread: SQLite wants the one that opened the file
            for messages in stack.enter_context(read_ahead(steps.encode(segmented), ahead)):
                if messages and is_new:
                    is_new, time_ns = False, messages[0].time_ns
                    descriptions = latched(taxonomy, refinement.min_confidence, time_ns)
                    for key in (key for key in target.results if key[1] in descriptions):
                        target.write(OutMessage(key, time_ns, descriptions[key[1]]))
                for message in messages:
                    target.write(message)
                on_progress(result.frames - reported)
                reported = result.frames
        return result

    def _video_before(self, time_ns: int) -> Iterator[Record]:
        topics = [c.topic for c in self.cameras if c.topic.transport.is_video]
        if topics:
            yield from self.bag.messages(topics, start_ns=time_ns - KEY_FRAME_NS, end_ns=time_ns)

    def _groups(self, start_ns: int, end_ns: int, batch: int) -> Iterator[deque[Item]]:
        """Group records up to ``batch`` images to segment, or up to :data:`GROUP_BYTES`."""
        cameras = {(c.topic.name, c.topic.type): c for c in self.cameras}
        # of each topic, the first image of each period is segmented
        slots: dict[str, int] = {}
        only_images = self.options.only_results
        topics = [c.topic for c in self.cameras] if only_images else self.bag.topics
        group, frames, size = deque[Item](), 0, 0
        for record in self.bag.messages(topics, start_ns=start_ns, end_ns=end_ns):
            camera = cameras.get((record.topic.name, record.topic.type))
            if camera is not None:
                slot = (record.time_ns - self.start_ns) // self.options.period_ns
                if slots.get(camera.prefix) == slot and self.options.rate:
                    camera = None
                else:
                    slots[camera.prefix] = slot
            group.append(Item(record, camera))
            frames += camera is not None
            size += len(record.data)
            if frames == batch or (frames == 0 and size > GROUP_BYTES):
                yield group
                group, frames, size = deque(), 0, 0
        if group:
            yield group


class Steps:
    """Decode, segment and encode groups of records; ``result`` counts the images."""

    def __init__(
        self,
        segmenter: Segmenter,
        refinement: Refinement,
        taxonomy: Any,
        options: SegmentOptions,
    ) -> None:
        self.result = PartResult()
        self._segmenter = segmenter
        self._refinement = refinement
        self._taxonomy = taxonomy
        self._outputs = [OUTPUTS[name] for name in options.outputs if OUTPUTS[name].is_image]
        self._options = options
        self._decoders: dict[Topic, Decoder] = {}

    def feed(self, records: Iterable[Record]) -> None:
        """Feed the decoders with the video before the first segmented image."""
        for record in records:
            self._decoder(record.topic).skip(record)

    def decode(self, group: deque[Item]) -> deque[Item]:
        """Decode the images to segment."""
        for item in group:
            topic = item.record.topic
            if item.camera is None and topic in self._decoders:
                self._decoders[topic].skip(item.record)
            elif item.camera is not None:
                image = self._decoder(topic).decode(item.record)
                if isinstance(image, Image):
                    item.image = image._replace(rotation=self._options.rotate)
                else:
                    item.problem = str(image)
        return group

    def segment(self, group: deque[Item]) -> deque[Item]:
        """Segment the images, one by one if the batch fails."""
        items = [item for item in group if item.image is not None]
        try:
            self._segment(items)
        except GpuContextLostError:
            raise  # later images would fail too
        except LemoreError:
            for item in items:
                try:
                    self._segment([item])
                except LemoreError as error:  # noqa: PERF203 - each is tried by itself
                    item.problem = str(error)
        return group

    def encode(self, groups: Iterable[deque[Item]]) -> Iterator[list[OutMessage]]:
        """Yield the messages to write, large ones one at a time."""
        for group in groups:
            messages: list[OutMessage] = []
            while group:
                item = group.popleft()
                for message in self._messages(item):
                    messages.append(message)
                    if len(message.data) > LARGE_BYTES:
                        yield messages
                        messages = []
                self.result.frames += item.result is not None
                if item.problem:
                    problem = f'{item.record.topic.name}: {item.problem}'
                    self.result.problems[problem] = self.result.problems.get(problem, 0) + 1
            yield messages

    def _decoder(self, topic: Topic) -> Decoder:
        if topic not in self._decoders:
            self._decoders[topic] = Decoder(topic, self._options.max_pixels)
        return self._decoders[topic]

    def _segment(self, items: list[Item]) -> None:
        images = [item.image for item in items if item.image]
        results = self._segmenter.segment_batch(images, self._refinement)
        for item, result in zip(items, results, strict=True):
            item.result = result

    def _messages(self, item: Item) -> Iterator[OutMessage]:
        topic, time_ns = item.record.topic, item.record.time_ns
        if not self._options.only_results:
            yield OutMessage((topic.name, topic.type), time_ns, item.record.data)
        if item.camera is None or item.image is None or item.result is None:
            return
        alpha = self._options.alpha
        rendering = Rendering(item.image, item.result, self._taxonomy, alpha, make_message)
        for output in self._outputs:
            data = serialize(rendering.message(output), output.type)
            yield OutMessage((item.camera.prefix, output.name), time_ns, data)


def choose_cameras(bag: Bag, options: SegmentOptions) -> tuple[list[Camera], list[TopicProbe]]:
    """Return the cameras to segment, and the image topics that are unexpectedly none."""
    probes, others = find_cameras(bag, options.topics)
    names = name_cameras([probe.topic for probe in probes])
    cameras = [
        Camera(probe.topic, f'{options.prefix}/{name}' if name else options.prefix, probe.bytes)
        for probe, name in zip(probes, names, strict=True)
    ]
    results = {f'{camera.prefix}/{output}' for camera in cameras for output in options.outputs}
    taken = sorted(results & {topic.name for topic in bag.topics})
    if taken and not options.only_results:
        msg = (
            f'{bag.path} has a topic {taken[0]} already: give the results another --prefix than '
            f'{options.prefix}, or write --only-results'
        )
        raise BagError(msg)
    return cameras, others


@contextmanager
def read_ahead(items: Iterable[T], ahead: int = 1) -> Iterator[Iterator[T]]:
    """Yield an iterator over ``items`` that a thread fills, at most ``ahead`` items in advance.

    An exception of ``items`` is raised where they are taken. The block ends when the thread does:
    resources that it uses may be closed next.
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[Any]] = deque(pool.submit(next, source, end) for _ in range(ahead))

        def take() -> Iterator[T]:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(pool.submit(next, source, end))
                yield item
                # free it while waiting for the next one
                del item

        try:
            yield take()
        finally:
            for future in waiting:
                future.cancel()
            if hasattr(source, 'close'):
                pool.submit(source.close)
