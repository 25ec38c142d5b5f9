"""The steps from recorded messages to those that are written, each for a few images at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from lemore_core.common.errors import GpuContextLostError, LemoreError
from lemore_core.images.image import Image
from lemore_core.refine import Refinement
from lemore_core.segmentation import Segmentation
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import Taxonomy
from lemore_ros.bags.io.bag import Decoder, Record
from lemore_ros.bags.io.topics import Topic
from lemore_ros.bags.roles import CameraTopic
from lemore_ros.bags.segmentation.messages import make_message, serialize
from lemore_ros.bags.segmentation.options import SegmentOptions
from lemore_ros.messages.rendering import Rendering
from lemore_ros.outputs import OUTPUTS

# so many bytes of messages that are not segmented go with the next image at most
GROUP_BYTES = 8 * 2**20
# a message of so many bytes is written before the next one is made
LARGE_BYTES = 2**20


class OutMessage(NamedTuple):
    """A serialised message on its way into the bag.

    ``key`` is a recorded topic's name and type, or a camera's prefix and the output's name.
    """

    key: tuple[str, str]
    time_ns: int
    data: bytes | memoryview


@dataclass
class Item:
    """A record on its way through the steps; ``camera`` where it is to be segmented."""

    record: Record
    camera: CameraTopic | None = None
    image: Image | None = None
    result: Segmentation | None = None
    problem: str = ''


# a few images and the messages before them
Group = deque[Item]


@dataclass
class WriteBatch:
    """Messages to write next; with the last ones of an image, it is counted."""

    messages: deque[OutMessage] = field(default_factory=deque)
    frames: int = 0
    problems: list[str] = field(default_factory=list)


class Stages:
    """The steps for a network and what is asked of it."""

    def __init__(
        self,
        segmenter: Segmenter,
        refinement: Refinement,
        taxonomy: Taxonomy,
        options: SegmentOptions,
    ) -> None:
        self._segmenter = segmenter
        self._refinement = refinement
        self._taxonomy = taxonomy
        self._outputs = [OUTPUTS[name] for name in options.outputs if OUTPUTS[name].is_image]
        self._options = options
        self._decoders: dict[Topic, Decoder] = {}

    def prime(self, records: Iterable[Record]) -> None:
        """Take note of the messages of video before the first that is segmented."""
        for record in records:
            self._decoder(record.topic).skip(record)

    def decode(self, group: Group) -> Group:
        """Decode the images that are to be segmented."""
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

    def _decoder(self, topic: Topic) -> Decoder:
        if topic not in self._decoders:
            self._decoders[topic] = Decoder(topic, self._options.max_pixels)
        return self._decoders[topic]

    def segment(self, group: Group) -> Group:
        """Segment the images; one that fails does not cost the others their labels."""
        items = [item for item in group if item.image is not None]
        try:
            self._segment(items)
        except GpuContextLostError:
            raise  # no image after it would have labels
        except LemoreError:
            for item in items:
                try:
                    self._segment([item])
                except LemoreError as error:  # noqa: PERF203 - each is tried by itself
                    item.problem = str(error)
        return group

    def encode(self, groups: Iterable[Group]) -> Iterator[WriteBatch]:
        """Make messages of the labels, a few at a time: those of a large image are large."""
        for group in groups:
            batch = WriteBatch()
            while group:
                item = group.popleft()
                for message in self._messages(item):
                    batch.messages.append(message)
                    if len(message.data) > LARGE_BYTES:
                        yield batch
                        batch = WriteBatch()
                batch.frames += item.result is not None
                if item.problem:
                    batch.problems.append(f'{item.record.topic.name}: {item.problem}')
            yield batch

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
        rendering = Rendering(
            item.image,
            item.result,
            self._taxonomy,
            self._options.alpha,
            make_message,
        )
        for output in self._outputs:
            data = serialize(rendering.message(output), output.type)
            yield OutMessage((item.camera.prefix, output.name), time_ns, data)


def group(
    records: Iterable[Record], camera_of: Callable[[Record], CameraTopic | None], *, batch: int
) -> Iterator[Group]:
    """Gather records until ``batch`` of them are to be segmented, or they are many."""
    items = Group()
    frames = size = 0
    for record in records:
        items.append(Item(record, camera_of(record)))
        frames += items[-1].camera is not None
        size += len(record.data)
        if frames == batch or (frames == 0 and size > GROUP_BYTES):
            yield items
            items, frames, size = Group(), 0, 0
    if items:
        yield items
