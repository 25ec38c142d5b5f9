"""Read files that rosbags cannot: recordings that were interrupted, cut short or damaged.

A file is scanned for its readable pieces: the chunks of mcap and ROS 1 files, the rows of SQLite
files. A damaged chunk costs its own messages; a damaged record head or page ends the scan.
"""

from __future__ import annotations

import heapq
import sqlite3
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mcap.records import Channel, Chunk, DataEnd, McapRecord, Message, Schema
from mcap.stream_reader import MAGIC_SIZE, StreamReader, breakup_chunk
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag1 import reader as rosbag1
from rosbags.rosbag2.metadata import parse_qos

from lemore_core.common.errors import in_one_line
from lemore_core.common.limits import MAX_MESSAGE_BYTES
from lemore_ros.bags.compression import DECOMPRESSORS, decompress
from lemore_ros.bags.errors import ReadErrors

FORMATS = {'ros2msg': MessageDefinitionFormat.MSG, 'ros2idl': MessageDefinitionFormat.IDL}
END_OF_TIME = 2**64


class Found(NamedTuple):
    """A message: connection number, receive time, and bytes as stored."""

    connection: int
    time_ns: int
    data: bytes


class DamagedFile(ABC):
    """The readable pieces of a file; losses are added to ``errors``.

    ``connections`` count the messages found; ``span`` holds the first and last receive time,
    (0, 0) without messages.
    """

    def __init__(self, path: Path, errors: ReadErrors) -> None:
        self._path = path
        self._errors = errors
        self._file: Any = self._open()
        self._known: dict[int, Connection] = {}
        self._pieces: list[tuple[int, int, int]] = []  # start, position, end
        counts, position = Counter[int](), 0
        try:
            for position, found in self._scan():
                counts.update(message.connection for message in found)
                times = [message.time_ns for message in found]
                if times:
                    self._pieces.append((min(times), position, max(times)))
        except Exception as error:  # noqa: BLE001 - damage raises many types
            self._lose(f'nothing can be read after {position}', error)
        self._pieces.sort()
        self.connections = [c._replace(msgcount=counts[n]) for n, c in self._known.items()]
        last = max((end_ns for _, _, end_ns in self._pieces), default=0)
        self.span = (self._pieces[0][0] if self._pieces else 0, last)

    def messages(
        self, keys: Collection[tuple[str, str]], start_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, receive time and bytes of the topics, ordered by receive time."""
        wanted = {n: c for n, c in self._known.items() if (c.topic, c.msgtype) in keys}
        start = 0 if start_ns is None else start_ns
        end = END_OF_TIME if end_ns is None else end_ns
        for found in self._in_order(start, end):
            if found.connection in wanted and start <= found.time_ns < end:
                yield wanted[found.connection], found.time_ns, found.data

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> Any:
        return self._path.open('rb')

    @abstractmethod
    def _scan(self) -> Iterator[tuple[int, list[Found]]]:
        """Yield the position and the messages of each piece; collect the connections."""

    @abstractmethod
    def _read(self, position: int) -> list[Found]:
        """Return the messages of a piece."""

    def _lose(self, what: str, error: Exception, messages: int = 0) -> None:
        self._errors.add(f'{self._path.name}: {what}: {in_one_line(error)}', messages)

    def _in_order(self, start: int, end: int) -> Iterator[Found]:
        waiting: list[tuple[int, int, Found]] = []
        number = count()
        for start_ns, position, end_ns in self._pieces:
            if end_ns < start or start_ns >= end:
                continue
            while waiting and waiting[0][0] < start_ns:
                yield heapq.heappop(waiting)[2]
            for found in self._read(position):
                heapq.heappush(waiting, (found.time_ns, next(number), found))
        while waiting:
            yield heapq.heappop(waiting)[2]


class McapFile(DamagedFile):
    """Chunks and top-level messages of an mcap file without a readable summary."""

    def _scan(self) -> Iterator[tuple[int, list[Found]]]:
        self._schemas: dict[int, Schema] = {}
        offset = MAGIC_SIZE
        for record in self._records():
            if isinstance(record, DataEnd):
                return
            yield offset, self._messages(record, offset)
            offset = self._file.tell()

    def _read(self, position: int) -> list[Found]:
        self._file.seek(position)
        return self._messages(next(self._records(skip_magic=True)), position)

    def _records(self, *, skip_magic: bool = False) -> Iterator[McapRecord]:
        reader = StreamReader(
            self._file, skip_magic=skip_magic, emit_chunks=True, record_size_limit=MAX_MESSAGE_BYTES
        )
        return iter(reader.records)

    def _messages(self, record: McapRecord, offset: int) -> list[Found]:
        found: list[Found] = []
        try:
            records = _expand(record) if isinstance(record, Chunk) else [record]
        except Exception as error:  # noqa: BLE001 - damage raises many types
            self._lose(f'the chunk at byte {offset} is damaged', error)
            return found
        for one in records:
            if isinstance(one, Message):
                found.append(Found(one.channel_id, one.log_time, one.data))
            elif isinstance(one, Schema):
                self._schemas[one.id] = one
            elif isinstance(one, Channel):
                self._known[one.id] = self._connection(one)
        return found

    def _connection(self, channel: Channel) -> Connection:
        schema = self._schemas.get(channel.schema_id, Schema(0, b'', '', ''))
        definition = _definition(schema.encoding, schema.data.decode(errors='replace'))
        qos = parse_qos(channel.metadata.get('offered_qos_profiles', ''))
        extension = ConnectionExtRosbag2(channel.message_encoding, qos)
        return Connection(
            channel.id, channel.topic, schema.name, definition, '', 0, extension, self
        )


class SqliteFile(DamagedFile):
    """Rows of a SQLite file, including its write-ahead log."""

    def _open(self) -> sqlite3.Connection:
        # immutable: without a log, neither the file nor its folder is written
        mode = 'mode=ro' if Path(f'{self._path}-wal').exists() else 'immutable=1'
        uri = f'{self._path.absolute().as_uri()}?{mode}'
        database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        # read files that are shorter than their header says
        database.execute('PRAGMA writable_schema = ON')
        database.row_factory = sqlite3.Row
        return database

    def _scan(self) -> Iterator[tuple[int, list[Found]]]:
        for row in self._file.execute('SELECT * FROM topics'):
            self._known[row['id']] = self._connection(dict(row))
        query = 'SELECT id, topic_id, timestamp FROM messages ORDER BY id'
        for row, topic, time_ns in self._file.execute(query):
            if not isinstance(time_ns, int):
                msg = f'the time of row {row} is {time_ns!r}'
                raise TypeError(msg)
            yield row, [Found(topic, time_ns, b'')]

    def _read(self, position: int) -> list[Found]:
        query = 'SELECT topic_id, timestamp, data FROM messages WHERE id = ?'
        try:
            return [Found(*row) for row in self._file.execute(query, (position,))]
        except sqlite3.Error as error:
            self._lose(f'row {position} is damaged', error, 1)
            return []

    def _connection(self, row: dict[str, str]) -> Connection:
        kind, digest = row['type'], row.get('type_description_hash') or ''
        query = 'SELECT * FROM message_definitions WHERE topic_type = ?'
        try:
            known = self._file.execute(query, (kind,)).fetchone() or {}
        except sqlite3.Error:
            # recordings before ROS 2 Iron have no such table
            known = {}
        text = known['encoded_message_definition'] if known else ''
        definition = _definition(known['encoding'] if known else '', text)
        qos = parse_qos(row.get('offered_qos_profiles') or '')
        extension = ConnectionExtRosbag2(row['serialization_format'], qos)
        return Connection(int(row['id']), row['name'], kind, definition, digest, 0, extension, self)


class Rosbag1File(DamagedFile):
    """Chunks of a ROS 1 file without a readable index.

    Format: http://wiki.ros.org/Bags/Format/2.0.
    """

    def _scan(self) -> Iterator[tuple[int, list[Found]]]:
        self._reader = rosbag1.Reader(self._path)
        offset, size = len(b'#ROSBAG V2.0\n'), self._path.stat().st_size
        while offset < size:
            self._file.seek(offset)
            header = rosbag1.Header.read(self._file)
            end = rosbag1.read_uint32(self._file) + self._file.tell()
            kind = header.get_uint8('op')
            if kind == rosbag1.RecordType.BAGHEADER and header.get_uint64('index_pos') == 0:
                self._errors.add(f'{self._path.name} has no index, its recording was interrupted')
            elif kind == rosbag1.RecordType.CHUNK:
                yield offset, self._read(offset)
            elif kind == rosbag1.RecordType.CONNECTION:
                # repeated behind the chunks, some of which may be damaged
                self._file.seek(offset)
                self._take(self._file, [])
            offset = end

    def _read(self, position: int) -> list[Found]:
        found: list[Found] = []
        self._file.seek(position)
        try:
            compression = rosbag1.Header.read(self._file).get_string('compression')
            packed = rosbag1.read_bytes(self._file, rosbag1.read_uint32(self._file))
            data = rosbag1.decompressors[compression](packed)
            source = BytesIO(data)
            while source.tell() < len(data):
                self._take(source, found)
        except Exception as error:  # noqa: BLE001 - damage raises many types
            self._lose(f'the chunk at byte {position} is damaged', error)
        return found

    def _take(self, source: BinaryIO, found: list[Found]) -> None:
        start = source.tell()
        header = rosbag1.Header.read(source)
        number, kind = header.get_uint32('conn'), header.get_uint8('op')
        if kind == rosbag1.RecordType.MSGDATA:
            data = rosbag1.read_bytes(source, rosbag1.read_uint32(source))
            found.append(Found(number, header.get_time('time'), data))
        elif kind == rosbag1.RecordType.CONNECTION:
            source.seek(start)
            self._reader.bio = source
            self._known[number] = self._reader.read_connection()


def _expand(chunk: Chunk) -> list[McapRecord]:
    if chunk.compression in DECOMPRESSORS:
        # the mcap package decompresses without a limit
        data = decompress(chunk.compression, chunk.data, chunk.uncompressed_size)
        chunk = replace(chunk, compression='', data=data)
    return list(breakup_chunk(chunk, validate_crc=True))


def _definition(encoding: str, text: str) -> MessageDefinition:
    if encoding not in FORMATS:
        return MessageDefinition(MessageDefinitionFormat.NONE, '')
    return MessageDefinition(FORMATS[encoding], text)
