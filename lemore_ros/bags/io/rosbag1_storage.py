"""ROS 1 bags, given as ROS 2 messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rosbags.convert.converter import STATIC_MSGTYPE_RENAMES, is_same_wireformat
from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag1 import Reader
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from lemore_core.errors import in_one_line
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.losses import ReadErrors
from lemore_ros.bags.io.message_types import ASSUMED, distribution_types
from lemore_ros.bags.io.storage import Message
from lemore_ros.bags.io.topics import Topic, topics_of
from lemore_ros.bags.recovery.rosbag1_salvage import Rosbag1Salvage
from lemore_ros.bags.recovery.whole import UntilDamage, try_open

HEADER = 'std_msgs/msg/Header'


class _Kind(NamedTuple):
    """A ROS 1 type as ROS 2 knows it."""

    name: str
    definition: MessageDefinition
    digest: str
    to_cdr: Callable[[bytes], memoryview]


class Rosbag1Storage:
    """A ROS 1 bag. Types that ROS 2 has, of the same fields, are given as those of ROS 2.

    Raises:
        BagError: it is none, or nothing of it can be read.

    """

    def __init__(self, path: Path) -> None:
        self.losses = ReadErrors()
        self.distribution = ASSUMED
        self._path = path
        self._salvage: Rosbag1Salvage | None = None
        self._reader = try_open(Reader, path)
        if self._reader is None:
            found = self._salvaged().connections
            self.start_ns, self.end_ns = self._salvaged().span
        else:
            found = self._reader.connections
            is_empty = not self._reader.message_count
            self.start_ns = 0 if is_empty else self._reader.start_time
            self.end_ns = 0 if is_empty else self._reader.end_time - 1
        self._kinds = self._known(found)
        self._recorded = [c for c in found if c.id in self._kinds]
        self._connections = [self._as_ros2(c) for c in self._recorded]
        self.topics = topics_of(self._connections)

    def messages(
        self, topics: Sequence[Topic], start_ns: int | None, end_ns: int | None
    ) -> Iterator[Message]:
        """Yield topic, receive time and CDR bytes, in the order of the receive times."""
        wanted = {(topic.name, topic.type): topic for topic in topics}
        keys = {c.id: (c.topic, c.msgtype) for c in self._connections}
        found = [c for c in self._recorded if keys[c.id] in wanted]
        if not found:
            return
        for connection, time_ns, data in self._read(found, start_ns, end_ns):
            try:
                cdr = bytes(self._kinds[connection.id].to_cdr(data))
            except Exception as error:  # noqa: BLE001 - the generated code meets damage in its own ways
                self.losses.add(f'{connection.topic} at {time_ns} ns: {in_one_line(error)}', 1)
                continue
            yield wanted[keys[connection.id]], time_ns, cdr

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()
        if self._salvage is not None:
            self._salvage.close()

    def _read(
        self, connections: list[Connection], start_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        last, given = start_ns, Counter[int]()
        if self._reader is not None:
            whole = UntilDamage(self._reader.messages(connections, start_ns, end_ns))
            for message in whole:
                if message[1] != last:
                    last, given = message[1], Counter()
                given[message[0].id] += 1
                yield message
            if not whole.is_damaged:
                return
        for message in self._salvaged().messages(connections, last, end_ns):
            if message[1] == last and given[message[0].id]:
                given[message[0].id] -= 1
            else:
                yield message

    def _known(self, connections: list[Connection]) -> dict[int, _Kind]:
        kinds: dict[int, _Kind] = {}
        for connection in connections:
            try:
                kinds[connection.id] = _kind(connection)
            except BagError as error:  # noqa: PERF203 - each is judged by itself
                self.losses.add(str(error), connection.msgcount)
        return kinds

    def _salvaged(self) -> Rosbag1Salvage:
        if self._salvage is None:
            self._salvage = Rosbag1Salvage(self._path, self.losses)
            if not self._salvage.connections:
                msg = f'nothing of {self._path} can be read: {self.losses or "it is empty"}'
                raise BagError(msg)
        return self._salvage

    def _as_ros2(self, connection: Connection) -> Connection:
        kind = self._kinds[connection.id]
        return connection._replace(msgtype=kind.name, msgdef=kind.definition, digest=kind.digest)


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
