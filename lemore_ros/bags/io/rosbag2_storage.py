"""ROS 2 bags as rosbags reads them, and whatever can be read where it cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import zstandard
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from lemore_ros.bags.io.losses import ReadErrors
from lemore_ros.bags.io.storage import Message
from lemore_ros.bags.io.topics import Topic, topics_of
from lemore_ros.bags.recovery.salvage import Salvage
from lemore_ros.bags.recovery.whole import UntilDamage, try_open

# no CDR begins so; a file whose messages are compressed says so in the metadata beside it only,
# which may be damaged or missing
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


class Rosbag2Storage:
    """A rosbag2 folder, or a lone file of one."""

    def __init__(self, path: Path) -> None:
        self.losses = ReadErrors()
        self._path = path
        self._salvage: Salvage | None = None
        self._reader = _try_open(path)
        if self._reader is None:
            salvage = self._salvaged()
            self._connections = salvage.connections
            self.distribution = salvage.distribution
            self.start_ns, self.end_ns = salvage.span
        else:
            self._connections = self._reader.connections
            self.distribution = self._reader.ros_distro or ''
            is_empty = not self._reader.message_count
            self.start_ns = 0 if is_empty else self._reader.start_time
            self.end_ns = 0 if is_empty else self._reader.end_time - 1
        self.topics = topics_of(self._connections)

    def messages(
        self, topics: Sequence[Topic], start_ns: int | None, end_ns: int | None
    ) -> Iterator[Message]:
        """Yield topic, receive time and CDR bytes, in the order of the receive times."""
        wanted = {(topic.name, topic.type): topic for topic in topics}
        found = [c for c in self._connections if (c.topic, c.msgtype) in wanted]
        if not found:
            return
        for connection, time_ns, data in self._read(found, start_ns, end_ns):
            cdr = data
            if data[:4] == ZSTD_MAGIC:
                try:
                    cdr = zstandard.ZstdDecompressor().decompressobj().decompress(data)
                except zstandard.ZstdError as error:
                    self.losses.add(f'{connection.topic} at {time_ns} ns: {error}', 1)
                    continue
            yield wanted[connection.topic, connection.msgtype], time_ns, cdr

    def close(self) -> None:
        """Close the files."""
        if self._reader is not None:
            self._reader.close()
        if self._salvage is not None:
            self._salvage.close()

    def _read(
        self, connections: list[Connection], start_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        count = 0
        if self._reader is not None:
            whole = UntilDamage(self._reader.messages(connections, start_ns, end_ns))
            for count, message in enumerate(whole, 1):  # noqa: B007 - needed after it
                yield message
            if not whole.is_damaged:
                return
        keys = {(c.topic, c.msgtype) for c in connections}
        salvaged = self._salvaged().messages(keys, start_ns, end_ns)
        for index, message in enumerate(salvaged):
            # both read in the same order
            if index >= count:
                yield message

    def _salvaged(self) -> Salvage:
        if self._salvage is None:
            self._salvage = Salvage(self._path, self.losses)
        return self._salvage


def _try_open(path: Path) -> Reader | None:
    """Open a whole bag; None for a damaged one.

    Raises:
        BagError: it may not be read.

    """
    reader = try_open(Reader, path)
    if reader is None:
        return None
    if reader.message_count and any(_is_unindexed(s) for s in _files(reader)):
        # rosbags gives up on messages that such a file holds out of order
        reader.close()
        return None
    return reader


def _files(reader: Reader) -> list[object]:
    return list(getattr(reader.storage, 'storages', [reader.storage]))


def _is_unindexed(storage: object) -> bool:
    return hasattr(storage, 'chunks') and not storage.chunks
