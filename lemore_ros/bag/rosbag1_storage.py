"""ROS 1 bags, given as ROS 2 messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rosbags.convert.converter import STATIC_MSGTYPE_RENAMES, is_same_wireformat
from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag1 import Reader, ReaderError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from lemore_core.errors import in_one_line
from lemore_ros.bag.errors import BagError
from lemore_ros.bag.losses import Losses
from lemore_ros.bag.message_types import ASSUMED, distribution_types
from lemore_ros.bag.storage import Message
from lemore_ros.bag.topics import Topic, topics_of

HEADER = 'std_msgs/msg/Header'


class _Kind(NamedTuple):
    """A ROS 1 type as ROS 2 knows it."""

    name: str
    definition: MessageDefinition
    digest: str
    to_cdr: Callable[[bytes], memoryview]


class Rosbag1Storage:
    """A ROS 1 bag. Types that ROS 2 has, of the same fields, are given as those of ROS 2."""

    def __init__(self, reader: Reader, losses: Losses) -> None:
        self.losses = losses
        self.distribution = ASSUMED
        self._reader = reader
        self._kinds = {c.id: _kind(c) for c in reader.connections}
        self._connections = [self._as_ros2(c) for c in reader.connections]
        self.topics = topics_of(self._connections)
        self.start_ns = reader.start_time if reader.message_count else 0
        self.end_ns = reader.end_time - 1 if reader.message_count else 0

    def messages(
        self, topics: Sequence[Topic], start_ns: int | None, end_ns: int | None
    ) -> Iterator[Message]:
        """Yield topic, receive time and CDR bytes, in the order of the receive times."""
        wanted = {(topic.name, topic.type): topic for topic in topics}
        keys = {c.id: (c.topic, c.msgtype) for c in self._connections}
        found = [c for c in self._reader.connections if keys[c.id] in wanted]
        messages = iter(self._reader.messages(found, start_ns, end_ns)) if found else iter(())
        while True:
            try:
                connection, time_ns, data = next(messages)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - a damaged file shows in a dozen ways
                self.losses.add(f'what follows in {self._reader.path.name}: {in_one_line(error)}')
                return
            try:
                cdr = bytes(self._kinds[connection.id].to_cdr(data))
            except Exception as error:  # noqa: BLE001 - the generated code meets damage in its own ways
                self.losses.add(f'{connection.topic} at {time_ns} ns: {in_one_line(error)}', 1)
                continue
            yield wanted[keys[connection.id]], time_ns, cdr

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _as_ros2(self, connection: Connection) -> Connection:
        kind = self._kinds[connection.id]
        return connection._replace(msgtype=kind.name, msgdef=kind.definition, digest=kind.digest)


def open_rosbag1(path: Path) -> Rosbag1Storage:
    """Open a ROS 1 bag.

    Raises:
        BagError: it is none, or it has no index.

    """
    reader = Reader(path)
    try:
        reader.open()
    except (ReaderError, OSError, ValueError, AssertionError) as error:
        msg = (
            f'{path} cannot be read: {in_one_line(error)}. If its recording broke off, '
            'rosbag reindex (ROS 1) restores what is left'
        )
        raise BagError(msg) from error
    return Rosbag1Storage(reader, Losses())


def _kind(connection: Connection) -> _Kind:
    name = STATIC_MSGTYPE_RENAMES.get(connection.msgtype, connection.msgtype)
    store = get_typestore(Stores.EMPTY)
    try:
        types = get_types_from_msg(connection.msgdef.data, name)
    except TypesysError as error:
        msg = f'the definition of {name} on {connection.topic} cannot be read: {error}'
        raise BagError(msg) from error
    known = distribution_types(ASSUMED)
    # a header of ROS 1 counts messages, that of ROS 2 does not
    store.register({**types, HEADER: known.fielddefs[HEADER], **_needed(known)})
    if name in known.fielddefs and is_same_wireformat(store, known, name, name):
        store = known
    return _Kind(name, *_described(store, name), partial(store.ros1_to_cdr, typename=name))


def _needed(known: Typestore) -> dict[str, object]:
    time = 'builtin_interfaces/msg/Time'
    return {time: known.fielddefs[time]}


def _described(store: Typestore, name: str) -> tuple[MessageDefinition, str]:
    text, _ = store.generate_msgdef(name, ros_version=2)
    return MessageDefinition(MessageDefinitionFormat.MSG, text), store.hash_rihs01(name)
