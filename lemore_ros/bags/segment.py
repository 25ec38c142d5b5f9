"""Segment parts of bags: read and decode, segment, encode and write at the same time."""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lemore_core.common.errors import GpuContextLostError, LemoreError
from lemore_core.common.memory import keep_freed_memory
from lemore_core.images.image import Image
from lemore_core.segmentation import Segmentation, refinement_of
from lemore_core.segmenter import Segmenter
from lemore_ros.bags.options import SegmentOptions
from lemore_ros.bags.reader import Bag, Record, open_bag
from lemore_ros.bags.topics import TopicProbe
from lemore_ros.bags.types import Topic
from lemore_ros.bags.writer import (
    Key,
    add_connections,
    class_messages,
    make_message,
    new_part,
    serialize,
)
from lemore_ros.messages.rendering import Rendering
from lemore_ros.outputs import OUTPUTS

NS = 10**9
RESULT_FILE = 'result.json'
# key frames of a video are closer together than this
KEY_FRAME_NS = 10 * NS
# encodings whose depth is found from the images, and the images tried for it
DEEP, DEPTH_SAMPLES = re.compile('16|png|^$', re.IGNORECASE), 10
# between two stages: images queued if they are small, and bytes of recorded messages or results
MOST_AHEAD, AHEAD_BYTES, CHUNK_BYTES = 4, 8 * 2**20, 2 * 2**20
T = TypeVar('T')
Camera = tuple[str, TopicProbe]  # the namespace of its results
Message = tuple[Key, int, bytes | memoryview]  # time in nanoseconds, serialised


class PartResult(NamedTuple):
    """Number of segmented images, reasons of the others with their counts, and read errors."""

    frames: int
    problems: dict[str, int]
    read_errors: dict[str, int]


class Part(NamedTuple):
    """Messages of a bag from ``start_ns`` to before ``end_ns``; ``path`` is the bag to write."""

    source: Path
    path: Path
    cameras: tuple[Camera, ...]
    start_ns: int
    end_ns: int

    def result(self) -> PartResult | None:
        """Return the result of a complete part, None for another one."""
        path = self.path / RESULT_FILE
        return PartResult(*json.loads(path.read_bytes())) if path.exists() else None


@dataclass
class Item:
    """A record; if segmented, the results' namespace, and image and result or errors."""

    record: Record
    prefix: str = ''
    image: Image | LemoreError | None = None
    result: Segmentation | LemoreError | None = None


class BagSegmenter:
    """Segment parts one after the other, keeping the network and the last bag open."""

    def __init__(self, options: SegmentOptions) -> None:
        keep_freed_memory()
        self._options = options
        self._network: Segmenter | None = None
        self._bag: Bag | None = None
        self._opened = ExitStack()

    def open(self, source: Path) -> Bag:
        """Open a bag, unless it is open, and close the one before."""
        if self._bag is None or self._bag.path != source:
            self.close()
            limits = self._options.max_pixels, self._options.bit_depth
            self._bag = self._opened.enter_context(open_bag(source, *limits))
        return self._bag

    def close(self) -> None:
        """Close the bag."""
        self._bag = None
        self._opened.close()

    def write(self, part: Part, on_progress: Callable[[int], object]) -> PartResult:
        """Segment a part into a bag with the result as JSON, unless it is complete."""
        if done := part.result():
            return done
        bag, options = self.open(part.source), self._options
        if self._network is None:
            self._network = options.load()
        self._refinement, self._taxonomy = refinement_of(options, self._network.taxonomy)
        self._frames, self._problems = 0, Counter[str]()
        batch = self._network.status.batch
        batch_bytes = batch * max(probe.bytes for _, probe in part.cameras)
        ahead = min(MOST_AHEAD, max(1, AHEAD_BYTES // batch_bytes))
        topics = () if options.only_results else bag.copied_topics
        results = [(prefix, name) for prefix, _ in part.cameras for name in options.outputs]
        with new_part(part.path, options) as writer, ExitStack() as stack:
            connections = add_connections(writer, topics, bag.types, results)

            def in_thread(items: Iterable[T]) -> Iterator[T]:
                return stack.enter_context(closing(read_ahead(items, ahead)))

            # decoded by the thread that reads: another stage would hold one more image
            read = in_thread(self._read(bag, part, batch))
            segmented = in_thread(map(self._segment, read))
            messages = self._messages(segmented, results, on_progress)
            # written by this thread: SQLite wants the one that opened the file
            for chunk in in_thread(in_chunks(messages)):
                for key, time_ns, data in chunk:
                    writer.write(connections[key], time_ns, data)
            result = PartResult(self._frames, self._problems, bag.errors.places)
            (writer.path / RESULT_FILE).write_text(json.dumps(result), encoding='utf-8')
        return result

    def _read(self, bag: Bag, part: Part, batch: int) -> Iterator[deque[Item]]:
        """Yield records with up to ``batch`` decoded images, or up to :data:`AHEAD_BYTES`."""
        options = self._options
        cameras = {
            (p.topic.name, p.topic.type): (prefix, bag.decoder(p.topic))
            for prefix, p in part.cameras
        }
        for probe in (probe for _, probe in part.cameras if DEEP.search(probe.encoding)):
            _, deep = cameras[probe.topic.name, probe.topic.type]
            for record in _samples(bag, probe.topic):
                deep.decode(record)  # a part may begin in the dark
        images = [probe.topic for _, probe in part.cameras]
        videos = [topic for topic in images if topic.transport.is_video]
        start_ns, end_ns = part.start_ns - KEY_FRAME_NS, part.start_ns
        for record in bag.messages(videos, start_ns=start_ns, end_ns=end_ns) if videos else ():
            cameras[record.topic.name, record.topic.type][1].skip(record)
        # of each topic, the first image of each period is segmented; parts begin with a period
        periods: dict[str, int] = {}
        group, frames, size = deque[Item](), 0, 0
        topics = images if options.only_results else bag.copied_topics
        for record in bag.messages(topics, start_ns=part.start_ns, end_ns=part.end_ns):
            key = record.topic.name, record.topic.type
            prefix, decoder = cameras.get(key, ('', None))
            period = (record.time_ns - part.start_ns) // options.period_ns
            if decoder is None:
                group.append(Item(record))
            elif options.rate and periods.get(prefix) == period:
                decoder.skip(record)
                group.append(Item(record))
            else:
                group.append(Item(record, prefix, decoder.decode(record)))
                periods[prefix] = period
                frames += 1
            size += len(record.data)
            if frames == batch or (frames == 0 and size > AHEAD_BYTES):
                yield group
                group, frames, size = deque(), 0, 0
        if group:
            yield group

    def _segment(self, group: deque[Item]) -> deque[Item]:
        """Segment the images, one by one if the batch fails."""
        items = [item for item in group if isinstance(item.image, Image)]
        try:
            self._segment_batch(items)
        except GpuContextLostError:
            raise  # later images would fail too
        except LemoreError:
            for item in items:
                try:
                    self._segment_batch([item])
                except LemoreError as error:  # noqa: PERF203 - each is tried by itself
                    item.result = error
        return group

    def _segment_batch(self, items: Sequence[Item]) -> None:
        assert self._network is not None, 'write() loads the network'
        rotate = self._options.rotate
        images = [i.image._replace(rotation=rotate) for i in items if isinstance(i.image, Image)]
        results = self._network.segment_batch(images, self._refinement)
        for item, result in zip(items, results, strict=True):
            item.result = result

    def _messages(
        self,
        groups: Iterable[deque[Item]],
        results: Sequence[Key],
        on_progress: Callable[[int], object],
    ) -> Iterator[Message]:
        """Yield the messages to write, the descriptions of the classes first."""
        is_first = True
        for group in groups:
            while group:
                item = group.popleft()
                time_ns = item.record.time_ns
                if is_first:
                    threshold = self._refinement.min_confidence
                    known = class_messages(self._taxonomy, threshold, time_ns)
                    for key in [key for key in results if key[1] in known]:
                        yield key, time_ns, known[key[1]]
                    is_first = False
                yield from self._messages_of(item)
                on_progress(isinstance(item.result, Segmentation))

    def _messages_of(self, item: Item) -> Iterator[Message]:
        record, image, result = item.record, item.image, item.result
        topic, options = record.topic, self._options
        if not options.only_results:
            yield (topic.name, topic.type), record.time_ns, record.data
        if isinstance(image, Image) and isinstance(result, Segmentation):
            rendering = Rendering(image, result, self._taxonomy, options.alpha, make_message)
            for output in [OUTPUTS[name] for name in options.outputs if OUTPUTS[name].is_image]:
                data = serialize(rendering.message(output), output.type)
                yield (item.prefix, output.name), record.time_ns, data
            self._frames += 1
        elif image is not None:
            self._problems[f'{topic.name}: {result or image}'] += 1


def _samples(bag: Bag, topic: Topic) -> Iterator[Record]:
    """Yield a few messages from all over a bag, the same for each part."""
    step = (bag.end_ns - bag.start_ns) // DEPTH_SAMPLES + 1
    for start_ns in range(bag.start_ns, bag.end_ns + 1, step):
        yield from islice(bag.messages([topic], start_ns=start_ns), 1)


def in_chunks(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Yield lists of messages, which end with the one that exceeds :data:`CHUNK_BYTES`."""
    chunk, size = list[Message](), 0
    for message in messages:
        chunk.append(message)
        size += len(message[2])
        if size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    yield chunk


def read_ahead(items: Iterable[T], ahead: int = 1) -> Generator[T, None, None]:
    """Yield ``items``, which a thread makes, at most ``ahead`` of them in advance.

    Exceptions are raised where items are taken. Closing the generator ends the thread.
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[Any]] = deque(pool.submit(next, source, end) for _ in range(ahead))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(pool.submit(next, source, end))
                yield item
                # free it while waiting for the next one
                del item
        finally:
            for future in waiting:
                future.cancel()
            if hasattr(source, 'close'):
                pool.submit(source.close)
