"""ROS 1 bags, given as ROS 2 messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rosbags.convert.converter import STATIC_MSGTYPE_RENAMES, is_same_wireformat
from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag1 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from lemore_core.common.errors import in_one_line
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.bag import Bag
from lemore_ros.bags.io.bag_file import BagFile, try_open
from lemore_ros.bags.io.bounded import bound_rosbags
from lemore_ros.bags.io.message_types import ASSUMED, MessageTypes, distribution_types
from lemore_ros.bags.io.topics import Topic, topics_of
from lemore_ros.bags.recovery.rosbag1_file import Rosbag1File

HEADER, TIME = 'std_msgs/msg/Header', 'builtin_interfaces/msg/Time'


class _Kind(NamedTuple):
    """A ROS 1 type as ROS 2 knows it."""

    name: str
    definition: MessageDefinition
    digest: str
    to_cdr: Callable[[bytes], memoryview]


class Rosbag1Bag(Bag):
    """A ROS 1 bag. Types that ROS 2 has, of the same fields, are given as those of ROS 2.

    Raises:
        BagError: it is none, or nothing of it can be read.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        super().__init__(path, max_pixels)
        self.types = MessageTypes()
        bound_rosbags()
        self._reader = try_open(Reader, path)
        self._file = BagFile(path, self._reader, Rosbag1File, self.errors)
        found = self._file.connections
        if not found:
            self.close()
            msg = f'nothing of {path} can be read: {self.errors or "it is empty"}'
            raise BagError(msg)
        self.start_ns, self.end_ns = self._file.span
        self._kinds = self._known(found)
        self._recorded = [c for c in found if c.id in self._kinds]
        self.topics = topics_of(self._as_ros2(c) for c in self._recorded)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._reader is not None:
            self._reader.close()

    def _read(
        self, topics: dict[tuple[str, str], Topic], start_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[Topic, int, bytes]]:
        keys = {(c.topic, c.msgtype): (c.topic, self._kinds[c.id].name) for c in self._recorded}
        chosen = {key: topics[name] for key, name in keys.items() if name in topics}
        for connection, time_ns, data in self._file.messages(chosen, start_ns, end_ns):
            try:
                cdr = bytes(self._kinds[connection.id].to_cdr(data))
            except Exception as error:  # noqa: BLE001 - the generated code meets damage in its own ways
                self.errors.add(f'{connection.topic} at {time_ns} ns: {in_one_line(error)}', 1)
                continue
            yield chosen[connection.topic, connection.msgtype], time_ns, cdr

    def _known(self, connections: list[Connection]) -> dict[int, _Kind]:
        kinds: dict[int, _Kind] = {}
        for connection in connections:
            try:
                kinds[connection.id] = _kind(connection)
            except Exception as error:  # noqa: BLE001, PERF203 - each definition is judged by itself
                what = f'{connection.topic}: the definition of {connection.msgtype} cannot be read'
                self.errors.add(f'{what}: {in_one_line(error)}', connection.msgcount)
        return kinds

    def _as_ros2(self, connection: Connection) -> Connection:
        kind = self._kinds[connection.id]
        return connection._replace(msgtype=kind.name, msgdef=kind.definition, digest=kind.digest)


def _kind(connection: Connection) -> _Kind:
    name = STATIC_MSGTYPE_RENAMES.get(connection.msgtype, connection.msgtype)
    store = get_typestore(Stores.EMPTY)
    types = get_types_from_msg(connection.msgdef.data, name)
    known = distribution_types(ASSUMED)
    # a header of ROS 1 counts messages, that of ROS 2 does not
    store.register({**types, HEADER: known.fielddefs[HEADER], TIME: known.fielddefs[TIME]})
    if name in known.fielddefs and is_same_wireformat(store, known, name, name):
        store = known
    text, _ = store.generate_msgdef(name, ros_version=2)
    definition = MessageDefinition(MessageDefinitionFormat.MSG, text)
    to_cdr = partial(store.ros1_to_cdr, typename=name)
    return _Kind(name, definition, store.hash_rihs01(name), to_cdr)
