"""An open bag of any kind, and its messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lemore_core.common.limits import MAX_PIXELS
from lemore_ros.bags.errors import BagError, ReadErrors
from lemore_ros.bags.io.message_types import MessageTypes
from lemore_ros.bags.io.topics import Topic

if TYPE_CHECKING:
    from lemore_core.images.image import Image
    from lemore_ros.messages.images import ImageError


@dataclass(frozen=True)
class Record:
    """A message as it was recorded: ``time_ns`` is when it was received, ``data`` is CDR."""

    topic: Topic
    time_ns: int
    data: bytes = field(repr=False)
    _types: MessageTypes = field(repr=False, compare=False)

    @property
    def message(self) -> Any:
        """The message with its fields; made anew at every call, arrays are views into ``data``.

        Raises:
            BagError: the bytes are no message of the topic's type.
        """
        return self._types.deserialize(self.topic, self.data)


class Decoded(NamedTuple):
    """An image message and its image, or why it has none."""

    record: Record
    image: Image | ImageError | BagError


class Bag(ABC):
    """An open bag; made by :func:`~lemore_ros.bags.io.reader.open_bag`.

    ``topics`` are by name; ``start_ns`` and ``end_ns`` are when the first and the last message were
    received, 0 where there are none. ``errors`` has what could not be read so far. Iterators of one
    bag are used one at a time.
    """

    topics: tuple[Topic, ...]
    start_ns: int
    end_ns: int
    types: MessageTypes

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path = path
        self.max_pixels = max_pixels
        self.errors = ReadErrors()

    @abstractmethod
    def close(self) -> None:
        """Close the files."""

    @abstractmethod
    def _read(
        self, topics: dict[tuple[str, str], Topic], start_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[Topic, int, bytes]]:
        """Yield topic, receive time and CDR bytes, in the order of the receive times.

        ``topics`` are those that are wanted, by name and type.
        """

    @property
    def image_topics(self) -> tuple[Topic, ...]:
        """The topics of raw and compressed images, by name."""
        return tuple(topic for topic in self.topics if topic.is_image)

    @property
    def damage(self) -> str:
        """What could not be read so far, and why; empty for a whole bag."""
        return str(self.errors)

    @property
    def unreadable(self) -> int:
        """How many messages are known to be lost so far; there may be more that left no trace."""
        return self.errors.messages

    def topic(self, name: str) -> Topic:
        """Return the topic called ``name``, the image topic where several are.

        Raises:
            BagError: there is none.
        """
        found = [topic for topic in self.topics if topic.name == name]
        if not found:
            names = ', '.join(topic.name for topic in self.topics) or 'none'
            msg = f'{self.path} has no topic {name}, there are: {names}'
            raise BagError(msg)
        return max(found, key=lambda topic: topic.is_image)

    def messages(
        self,
        topics: Collection[Topic] | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[Record]:
        """Yield messages in the order of their receive times, those of ``topics`` (None: all).

        They were received from ``start_ns`` until before ``end_ns`` (None: no bound). What cannot
        be read is left out and added to ``errors``.
        """
        wanted = self.topics if topics is None else topics
        by_key = {(topic.name, topic.type): topic for topic in wanted}
        for topic, time_ns, data in self._read(by_key, start_ns, end_ns):
            yield Record(topic, time_ns, data, self.types)

    def frames(
        self, topic: Topic, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[Decoded]:
        """Yield the images of an image topic; one that cannot be decoded comes as its error."""
        decoder = Decoder(topic, self.max_pixels)
        for record in self.messages([topic], start_ns=start_ns, end_ns=end_ns):
            yield Decoded(record, decoder.decode(record))


class Decoder:
    """Decodes the images of a topic, all of which it is given, in their order."""

    def __init__(self, topic: Topic, max_pixels: int = MAX_PIXELS) -> None:
        from lemore_ros.messages.readers import make_reader

        self._reader = make_reader(topic.type)
        self._max_pixels = max_pixels

    def decode(self, record: Record) -> Image | ImageError | BagError:
        """Return the image of a message, or why it has none."""
        image: Image | ImageError | BagError
        image = _attempt(record, self._reader.read, self._max_pixels)
        return image

    def skip(self, record: Record) -> None:
        """Take note of a message whose image is not needed: that of a later one may be made of it."""
        _attempt(record, self._reader.skip, self._max_pixels)


def _attempt(record: Record, read: Callable[[Any, int], Any], max_pixels: int) -> Any:
    from lemore_ros.messages.images import ImageError

    try:
        return read(record.message, max_pixels)
    except (ImageError, BagError) as error:
        return error
    except (AttributeError, TypeError) as error:
        # what the fields are called and hold is what the bag says
        msg = f'the definition of {record.topic.type} in the bag is not the one of ROS: {error}'
        return BagError(msg)
