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

from lemore_core.common.errors import GpuContextLostError, LemoreError
from lemore_core.common.memory import keep_freed_memory
from lemore_core.images.image import Image
from lemore_core.segmentation import Segmentation
from lemore_core.segmenter import Segmenter
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.messages import latched, make_message, serialize
from lemore_ros.bags.options import SegmentOptions
from lemore_ros.bags.reader import Bag, Decoder, Record, open_bag
from lemore_ros.bags.topics import find_cameras, name_cameras
from lemore_ros.bags.types import Topic
from lemore_ros.bags.writer import add_connections, new_part
from lemore_ros.messages.rendering import Rendering
from lemore_ros.outputs import OUTPUTS

NS = 10**9
RESULT_FILE = 'result.json'
# key frames of a video are closer together than this
KEY_FRAME_NS = 10 * NS
# between two stages: images queued if they are small, and bytes of messages in one item
MOST_AHEAD, AHEAD_BYTES = 4, 8 * 2**20
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
        """Add the counts of another part; a place with a read error may be in both."""
        self.frames += other.frames
        self.problems = dict(Counter(self.problems) + Counter(other.problems))
        places = self.read_errors.keys() | other.read_errors
        counts = (self.read_errors, other.read_errors)
        self.read_errors = {p: max(c.get(p, 0) for c in counts) for p in sorted(places)}


@dataclass
class Item:
    """A record, and the image and result if its camera is segmented."""

    record: Record
    camera: Camera | None = None
    image: Image | None = None
    result: Segmentation | None = None
    problem: str = ''


class OutMessage(NamedTuple):
    """A serialised message; ``key`` is of :func:`~lemore_ros.bags.writer.add_connections`."""

    key: tuple[str, str]
    time_ns: int
    data: bytes | memoryview


class BagSegmenter:
    """An open bag with its cameras, and the network, which is loaded for the first part.

    ``notes`` are for the user. ``cameras`` and ``network`` are taken if known.
    """

    def __init__(
        self,
        source: Path,
        options: SegmentOptions,
        *,
        cameras: Sequence[Camera] = (),
        network: Segmenter | None = None,
    ) -> None:
        keep_freed_memory()
        self.options = options
        self.network = network
        self.cameras = list(cameras)
        self.notes: list[str] = []
        with ExitStack() as stack:
            self.bag = stack.enter_context(open_bag(source, options.max_pixels))
            if not cameras:
                self.cameras, self.notes = choose_cameras(self.bag, options)
            self.close = stack.pop_all().close

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
        if self.network is None:
            self.network = self.options.model.load()
        steps, reported = Steps(self.network, self.options), 0
        videos = [c.topic for c in self.cameras if c.topic.transport.is_video]
        before = self.bag.messages(videos, start_ns=start_ns - KEY_FRAME_NS, end_ns=start_ns)
        for record in before if videos else ():
            steps.decoder(record.topic).skip(record)
        batch, result = self.network.status.batch, steps.result
        batch_bytes = batch * max(camera.image_bytes for camera in self.cameras)
        ahead = min(MOST_AHEAD, max(1, AHEAD_BYTES // batch_bytes))
        topics = () if self.options.only_results else self.bag.topics
        prefixes = [camera.prefix for camera in self.cameras]
        with new_part(part, self.options) as writer, ExitStack() as stack:
            connections = add_connections(
                writer, topics, self.bag.types, prefixes, self.options.outputs
            )
            # decoded by the thread that reads: another stage would hold one more image
            decoded = map(steps.decode, self._groups(start_ns, end_ns, batch))
            read = stack.enter_context(read_ahead(decoded, ahead))
            segmented = stack.enter_context(read_ahead(map(steps.segment, read), ahead))
            encoded = steps.encode(segmented, prefixes)
            # written by this thread: SQLite wants the one that opened the file
            for messages in stack.enter_context(read_ahead(encoded, ahead)):
                for key, time_ns, data in messages:
                    writer.write(connections[key], time_ns, data)
                on_progress(result.frames - reported)
                reported = result.frames
            result.read_errors = dict(self.bag.errors.places)
            (writer.path / RESULT_FILE).write_text(json.dumps(asdict(result)), encoding='utf-8')
        return result

    def _groups(self, start_ns: int, end_ns: int, batch: int) -> Iterator[deque[Item]]:
        """Group records up to ``batch`` images to segment, or up to :data:`AHEAD_BYTES`."""
        cameras = {(c.topic.name, c.topic.type): c for c in self.cameras}
        # of each topic, the first image of each period is segmented
        slots: dict[str, int] = {}
        only_images = self.options.only_results
        topics = [c.topic for c in self.cameras] if only_images else self.bag.topics
        group, frames, size = deque[Item](), 0, 0
        for record in self.bag.messages(topics, start_ns=start_ns, end_ns=end_ns):
            camera = cameras.get((record.topic.name, record.topic.type))
            if camera is not None and self.options.rate:
                slot = (record.time_ns - self.start_ns) // self.options.period_ns
                is_new = slots.get(camera.prefix) != slot
                slots[camera.prefix] = slot
                camera = camera if is_new else None
            group.append(Item(record, camera))
            frames += camera is not None
            size += len(record.data)
            if frames == batch or (frames == 0 and size > AHEAD_BYTES):
                yield group
                group, frames, size = deque(), 0, 0
        if group:
            yield group

    @property
    def start_ns(self) -> int:
        """The receive time from which images are segmented."""
        return self.bag.start_ns + round(self.options.skip * NS)


class Steps:
    """Decode, segment and encode groups of records; ``result`` counts the images."""

    def __init__(self, network: Segmenter, options: SegmentOptions) -> None:
        self.result = PartResult()
        self._network = network
        self._options = options
        self._refinement, self._taxonomy = options.model.refinement(network.taxonomy)
        self._outputs = [OUTPUTS[name] for name in options.outputs if OUTPUTS[name].is_image]
        self._decoders: dict[Topic, Decoder] = {}

    def decoder(self, topic: Topic) -> Decoder:
        """Return the decoder of a topic, the same for all its records."""
        if topic not in self._decoders:
            self._decoders[topic] = Decoder(topic, self._options.max_pixels)
        return self._decoders[topic]

    def decode(self, group: deque[Item]) -> deque[Item]:
        """Decode the images to segment."""
        for item in group:
            topic = item.record.topic
            if item.camera is None and topic in self._decoders:
                self._decoders[topic].skip(item.record)
            elif item.camera is not None:
                image = self.decoder(topic).decode(item.record)
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

    def encode(
        self, groups: Iterable[deque[Item]], prefixes: Sequence[str]
    ) -> Iterator[list[OutMessage]]:
        """Yield the messages to write, the descriptions of the classes first."""
        messages: list[OutMessage] = []
        is_first = True
        for group in groups:
            size = 0
            while group:
                item = group.popleft()
                for message in self._messages(item):
                    if is_first:
                        messages += self._descriptions(prefixes, message.time_ns)
                        is_first = False
                    messages.append(message)
                    size += len(message.data)
                    if size > AHEAD_BYTES:
                        yield messages
                        messages, size = [], 0
                self.result.frames += item.result is not None
                if item.problem:
                    problem = f'{item.record.topic.name}: {item.problem}'
                    self.result.problems[problem] = self.result.problems.get(problem, 0) + 1
            yield messages
            messages = []

    def _segment(self, items: list[Item]) -> None:
        images = [item.image for item in items if item.image]
        results = self._network.segment_batch(images, self._refinement)
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

    def _descriptions(self, prefixes: Sequence[str], time_ns: int) -> Iterator[OutMessage]:
        known = latched(self._taxonomy, self._refinement.min_confidence, time_ns)
        for prefix in prefixes:
            for output in self._options.outputs:
                if output in known:
                    yield OutMessage((prefix, output), time_ns, known[output])


def choose_cameras(bag: Bag, options: SegmentOptions) -> tuple[list[Camera], list[str]]:
    """Return the cameras to segment, and notes about the image topics that are unexpectedly none."""
    probes, others = find_cameras(bag, options.topic)
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
    notes = [f'{probe.topic.name} is not segmented: {probe.problem}' for probe in others]
    return cameras, [*notes, *bag.types.notes]


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
