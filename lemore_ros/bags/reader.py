"""Open bags of any kind as ROS 2 messages: rosbag2 folders, their single files, and ROS 1 bags.

rosbags' readers are used directly, not its AnyReader: that refuses a whole bag for one definition
that it cannot parse, such as that of a service's events.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rosbags.interfaces import Connection

from lemore_core.common.errors import in_one_line
from lemore_core.common.limits import MAX_PIXELS
from lemore_ros.bags.compression import ZSTD_MAGIC, decompress, limit_rosbags
from lemore_ros.bags.errors import BagError, ReadErrors
from lemore_ros.bags.files import (
    METADATA,
    ROSBAG2_SUFFIXES,
    BagFile,
    Metadata,
    find_files,
    read_metadata,
)
from lemore_ros.bags.types import MessageTypes, Topic, convert_ros1_type, merge_topics

if TYPE_CHECKING:
    from lemore_core.images.image import Image
    from lemore_ros.messages.images import ImageError

# a recording has the second ending until it is finished
ROSBAG1_ENDINGS = ('.bag', '.bag.active')


@dataclass(frozen=True)
class Record:
    """A recorded message: topic, receive time in nanoseconds, and CDR bytes."""

    topic: Topic
    time_ns: int
    data: bytes = field(repr=False)
    _types: MessageTypes = field(repr=False, compare=False)

    @property
    def message(self) -> Any:
        """The deserialised message, made at each call; arrays are views into ``data``.

        Raises:
            BagError: the bytes are no message of the topic's type.
        """
        return self._types.deserialize(self.topic, self.data)


class Decoded(NamedTuple):
    """An image message and its image, or the error that it raised."""

    record: Record
    image: Image | ImageError | BagError


class Decoder:
    """Decode the images of one topic; video needs every message, in order."""

    def __init__(self, topic: Topic, max_pixels: int = MAX_PIXELS) -> None:
        from lemore_ros.messages.images import make_reader

        self._reader = make_reader(topic.type)
        self._max_pixels = max_pixels

    def decode(self, record: Record) -> Image | ImageError | BagError:
        """Return the image of a message, or the error."""
        image: Image | ImageError | BagError = self._attempt(record, self._reader.read)
        return image

    def skip(self, record: Record) -> None:
        """Feed the decoder without returning the image; later frames may depend on it."""
        self._attempt(record, self._reader.skip)

    def _attempt(self, record: Record, read: Callable[[Any, int], Any]) -> Any:
        from lemore_ros.messages.images import ImageError

        try:
            return read(record.message, self._max_pixels)
        except (ImageError, BagError) as error:
            return error
        except (AttributeError, TypeError) as error:
            # fields are named and typed by the bag
            kind = record.topic.type
            return BagError(f'the definition of {kind} in the bag is not that of ROS: {error}')


class Bag:
    """An open bag; made by :func:`open_bag`.

    ``topics`` are sorted by name; ``start_ns`` and ``end_ns`` are the first and last receive time,
    0 without messages. ``errors`` holds the losses so far. Use one iterator at a time.

    Raises:
        BagError: nothing can be read.
    """

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        limit_rosbags()
        self.path = path
        self.max_pixels = max_pixels
        self.errors = ReadErrors()
        self._files: list[BagFile] = []
        metadata = read_metadata(path, self.errors) if path.is_dir() else Metadata()
        self.types = MessageTypes(metadata.ros_distro)
        with ExitStack() as stack:
            for file in find_files(path, metadata, self.errors):
                self._files.append(BagFile(file, self.errors))
                stack.callback(self._files[-1].close)
            self._find_topics(metadata)
            self.close = stack.pop_all().close

    def _find_topics(self, metadata: Metadata) -> None:
        found = [connection for file in self._files for connection in file.connections]
        missing = metadata.message_count - sum(c.msgcount for c in found) - self.errors.messages
        if missing > 0:
            of_all = f'{missing} of the {metadata.message_count} messages'
            self.errors.add(f'{of_all} that {METADATA} counts', missing)
        is_ros1 = self.path.name.endswith(ROSBAG1_ENDINGS)
        if not found and (is_ros1 or self.errors.places):
            msg = f'nothing of {self.path} can be read: {self.errors or "it is empty"}'
            raise BagError(msg)
        spans = [file.span for file in self._files if file.span != (0, 0)]
        self.start_ns = min((first for first, _ in spans), default=0)
        self.end_ns = max((last for _, last in spans), default=0)
        self._convert = _from_ros1 if is_ros1 else _from_ros2
        converted = [(c, self._in_ros2(c) if is_ros1 else c) for c in found]
        known = [(c, new) for c, new in converted if new is not None]
        self.topics = merge_topics(new for _, new in known)
        by_key = {(topic.name, topic.type): topic for topic in self.topics}
        # by name and type in the files, where ROS 1 types may have other names
        self._recorded = {(c.topic, c.msgtype): by_key[n.topic, n.msgtype] for c, n in known}

    @property
    def image_topics(self) -> tuple[Topic, ...]:
        """The image topics of any transport, sorted by name."""
        return tuple(topic for topic in self.topics if topic.is_image)

    @property
    def damage(self) -> str:
        """A description of the losses so far, empty without any."""
        return str(self.errors)

    @property
    def unreadable(self) -> int:
        """The number of messages known to be lost so far; there may be more."""
        return self.errors.messages

    def topic(self, name: str) -> Topic:
        """Return the topic called ``name``; of several types, that of images.

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
        """Yield the messages of ``topics`` (None: all) ordered by receive time.

        The times are from ``start_ns`` to before ``end_ns`` (None: no bound). Messages that cannot
        be read are left out and added to ``errors``.
        """
        wanted = {k: t for k, t in self._recorded.items() if topics is None or t in topics}
        for file in self._files:
            for connection, time_ns, data in file.messages(wanted, start_ns, end_ns):
                topic = wanted[connection.topic, connection.msgtype]
                try:
                    cdr = self._convert(connection, data)
                except Exception as error:  # noqa: BLE001 - damage raises many types
                    self.errors.add(f'{topic.name} at {time_ns} ns: {in_one_line(error)}', 1)
                    continue
                yield Record(topic, time_ns, cdr, self.types)

    def frames(
        self, topic: Topic, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[Decoded]:
        """Yield the images of an image topic, or the errors of undecodable ones."""
        decoder = Decoder(topic, self.max_pixels)
        for record in self.messages([topic], start_ns=start_ns, end_ns=end_ns):
            yield Decoded(record, decoder.decode(record))

    def _in_ros2(self, connection: Connection) -> Connection | None:
        """Return a ROS 1 connection with the type of ROS 2; None if its definition is damaged."""
        try:
            kind = convert_ros1_type(connection.msgtype, connection.msgdef.data)
        except Exception as error:  # noqa: BLE001 - parsers raise many types
            what = f'{connection.topic}: the definition of {connection.msgtype} cannot be parsed'
            self.errors.add(f'{what}: {in_one_line(error)}', connection.msgcount)
            return None
        return connection._replace(msgtype=kind.name, msgdef=kind.definition)


def is_bag(path: Path) -> bool:
    """Return whether a path is a bag: a file by its name, a folder by its metadata."""
    return path.name.endswith((*ROSBAG1_ENDINGS, *ROSBAG2_SUFFIXES)) or (path / METADATA).is_file()


@contextmanager
def open_bag(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Bag]:
    """Open a rosbag2 folder, one of its ``.mcap`` or ``.db3`` files, or a ROS 1 ``.bag``.

    A damaged bag is read up to the damage. Images of more than ``max_pixels`` are not decoded.

    Raises:
        BagError: there is no such file, it is no bag, or nothing of it can be read.
    """
    if not path.exists():
        msg = f'there is no bag {path}'
        raise BagError(msg)
    if not path.is_dir() and not path.name.endswith((*ROSBAG1_ENDINGS, *ROSBAG2_SUFFIXES)):
        msg = f'{path} is no bag: give a rosbag2 folder, a .mcap or .db3 file, or a ROS 1 .bag'
        raise BagError(msg)
    bag = Bag(path, max_pixels)
    try:
        yield bag
    finally:
        bag.close()


def _from_ros2(_: Connection, data: bytes) -> bytes:
    # only metadata.yaml, which may be missing, says whether messages are compressed
    return decompress('zstd', data) if data[:4] == ZSTD_MAGIC else data


def _from_ros1(connection: Connection, data: bytes) -> bytes:
    return bytes(convert_ros1_type(connection.msgtype, connection.msgdef.data).to_cdr(data))
