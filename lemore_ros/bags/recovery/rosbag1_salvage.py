"""What can be read of a ROS 1 bag that is cut short, damaged or without its index.

The format: http://wiki.ros.org/Bags/Format/2.0. A file is a row of records; connections and
messages stand in chunks, which are compressed one by one. The index comes last, so that a recording
that broke off has none.
"""

from __future__ import annotations

import bz2
import heapq
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import lz4.frame
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag1,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag1.reader import Header, ReaderError, RecordType, normalize
from rosbags.typesys.msg import normalize_msgtype

from lemore_core.errors import in_one_line
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.losses import ReadErrors

MAGIC = b'#ROSBAG V2.0\n'
SIZE = struct.Struct('<I')
NO_INDEX = 0

# what is cut short gives what stands before the cut
EXPAND: Mapping[str, Callable[[bytes], bytes]] = {
    'none': lambda data: data,
    'bz2': lambda data: bz2.BZ2Decompressor().decompress(data),
    'lz4': lambda data: lz4.frame.LZ4FrameDecompressor().decompress(data),
}
DAMAGE = (ReaderError, OSError, RuntimeError, EOFError, UnicodeDecodeError, ValueError, IndexError)


class Found(NamedTuple):
    """A message: the number of its connection, its receive time, and its bytes as ROS 1 has them."""

    connection: int
    time_ns: int
    data: bytes


class Span(NamedTuple):
    """A chunk of the file: where its bytes are and how they are compressed, and whose times."""

    offset: int
    length: int
    compression: str
    start_ns: int
    end_ns: int


class Rosbag1Salvage:
    """The chunks of a file that could be found by going through it from its beginning.

    Raises:
        BagError: it does not begin as a ROS 1 bag does.

    """

    def __init__(self, path: Path, losses: ReadErrors) -> None:
        self._name = path.name
        self._losses = losses
        self._told: dict[int, Connection] = {}
        self._counts: Counter[int] = Counter()
        self._size = path.stat().st_size
        self._file = path.open('rb')
        try:
            if self._file.read(len(MAGIC)) != MAGIC:
                msg = f'{path} does not begin as a ROS 1 bag does'
                raise BagError(msg)  # noqa: TRY301 - the file is closed in one place
            self._spans = self._scan()
        except BaseException:
            self._file.close()
            raise
        self.connections = [
            connection._replace(msgcount=self._counts[number])
            for number, connection in self._told.items()
        ]

    @property
    def span(self) -> tuple[int, int]:
        """The receive times of the first and the last message, 0 where there are none."""
        starts, ends = [s.start_ns for s in self._spans], [s.end_ns for s in self._spans]
        return min(starts, default=0), max(ends, default=0)

    def messages(
        self, connections: Collection[Connection], start_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, receive time and bytes, in the order of the receive times."""
        wanted = {connection.id: connection for connection in connections}
        first = 0 if start_ns is None else start_ns
        after = 2**64 if end_ns is None else end_ns
        spans = [s for s in self._spans if s.end_ns >= first and s.start_ns < after]
        merged = heapq.merge(*(self._of_span(span) for span in spans), key=lambda item: item[:2])
        for time_ns, _, found in merged:
            if found is not None and first <= time_ns < after and found.connection in wanted:
                yield wanted[found.connection], time_ns, found.data

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _of_span(self, span: Span) -> Iterator[tuple[int, int, Found | None]]:
        # merging asks every span for its first item: this one costs no reading
        yield span.start_ns, span.offset, None
        for found in sorted(self._read(span.offset, span.length, span.compression), key=_time):
            yield found.time_ns, span.offset, found

    def _scan(self) -> list[Span]:
        spans: list[Span] = []
        offset = len(MAGIC)
        while offset < self._size:
            try:
                kind, header, length = self._record(offset)
            except DAMAGE as error:
                rest = self._size - offset
                self._losses.add(
                    f'{self._name}: no more records are found in the last {rest} bytes: '
                    f'{in_one_line(error)}'
                )
                return spans
            body = self._file.tell()
            try:
                if kind == RecordType.BAGHEADER and header.get_uint64('index_pos') == NO_INDEX:
                    self._losses.add(f'{self._name} has no index, its recording broke off')
                elif kind == RecordType.CHUNK:
                    there = min(length, self._size - body)
                    spans += self._counted(body, there, header.get_string('compression'))
                elif kind == RecordType.CONNECTION:
                    # the index tells of it as well, for chunks that cannot
                    self._take(kind, header, self._file.read(length), [])
            except DAMAGE as error:
                self._tell(offset, in_one_line(error))
            offset = body + length
        if offset > self._size:
            self._losses.add(f'{self._name} is cut short by {offset - self._size} bytes')
        return spans

    def _record(self, offset: int) -> tuple[int, Header, int]:
        """Return kind, header and length of a record; the file stands at its body then."""
        self._file.seek(offset)
        header = Header.read(self._file)
        return header.get_uint8('op'), header, _size(self._file)

    def _counted(self, offset: int, length: int, compression: str) -> list[Span]:
        found = self._read(offset, length, compression)
        if not found:
            return []
        self._counts.update(message.connection for message in found)
        times = [message.time_ns for message in found]
        return [Span(offset, length, compression, min(times), max(times))]

    def _read(self, offset: int, length: int, compression: str) -> list[Found]:
        """Return a chunk's messages, and learn the connections that it tells of."""
        found: list[Found] = []
        self._file.seek(offset)
        try:
            data = EXPAND[compression](self._file.read(length))
            source = BytesIO(data)
            while source.tell() < len(data):
                header = Header.read(source)
                kind, size = header.get_uint8('op'), _size(source)
                body = source.read(size)
                if len(body) != size:
                    msg = f'a message of {size} bytes is cut short after {len(body)}'
                    raise ReaderError(msg)
                self._take(kind, header, body, found)
        except KeyError:
            self._tell(offset, f'its compression {compression!r} is not known')
        except DAMAGE as error:
            self._tell(offset, in_one_line(error))
        return found

    def _take(self, kind: int, header: Header, body: bytes, found: list[Found]) -> None:
        number = header.get_uint32('conn')
        if kind == RecordType.CONNECTION:
            # its fields are written as those of a header, whose size is the body's
            fields = Header.read(BytesIO(SIZE.pack(len(body)) + body))
            topic = normalize(header.get_string('topic'))
            self._told.setdefault(number, self._connection(number, topic, fields))
        elif kind == RecordType.MSGDATA:
            found.append(Found(number, header.get_time('time'), body))

    def _tell(self, offset: int, problem: str) -> None:
        self._losses.add(f'{self._name}: what is at byte {offset} is damaged: {problem}')

    def _connection(self, number: int, topic: str, fields: Header) -> Connection:
        return Connection(
            number,
            topic,
            normalize_msgtype(fields.get_string('type')),
            MessageDefinition(MessageDefinitionFormat.MSG, fields.get_string('message_definition')),
            fields.get_string('md5sum'),
            0,
            ConnectionExtRosbag1(None, None),
            self,
        )


def _size(source: BinaryIO) -> int:
    data = source.read(SIZE.size)
    if len(data) != SIZE.size:
        msg = 'the size of a record is cut short'
        raise ReaderError(msg)
    size: Any = SIZE.unpack(data)[0]
    return int(size)


def _time(found: Found) -> int:
    return found.time_ns
