"""Read mcap, SQLite and ROS 1 files, whole or damaged.

The pieces of a file are the chunks of mcap and ROS 1 files and the rows of SQLite files. They are
found by the index, or by a scan if the index is missing or incomplete. Damage costs the messages
from there to the end of the chunk, or the rows of a page; a damaged record head ends the scan.
What is read is compared with the numbers of the index.
"""

from __future__ import annotations

import heapq
import os
import sqlite3
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat, Qos
from rosbags.rosbag1 import reader as rosbag1
from rosbags.rosbag2.metadata import parse_qos

from lemore_core.common.errors import in_one_line
from lemore_ros.bags.compression import ZSTD_MAGIC, decompress
from lemore_ros.bags.errors import MAGIC, BagError, ReadErrors
from lemore_ros.bags.types import CDR, NONE, Topic, convert_ros1_type, full_name

FORMATS = {
    'ros2msg': MessageDefinitionFormat.MSG,
    'ros2idl': MessageDefinitionFormat.IDL,
    'omgidl': MessageDefinitionFormat.IDL,
}
# the rows of a page or two; the data of one
NEIGHBOURS = """
    SELECT id, topic_id, timestamp, CASE id WHEN :id THEN data END
    FROM messages WHERE id > :id - 200 LIMIT 400
"""
END_OF_TIME = 2**64
ROWS = 'SELECT id, topic_id, timestamp FROM messages WHERE id >= ? ORDER BY id'
MOST_ROWS = 2**40


class Message(NamedTuple):
    """Topic number, receive time, and bytes as stored."""

    topic: int
    time_ns: int
    data: bytes


class Piece(NamedTuple):
    """First receive time, position, last receive time, and message counts by topic number."""

    start_ns: int
    position: int
    end_ns: int
    counts: Mapping[int, int]


class Storage(ABC):
    """An open file of a bag; losses are added to ``errors``.

    ``topics`` are those of each publisher, by number; ``span`` is the first and last receive time.
    """

    piece = 'chunk at byte'
    ending, content = '', ''  # of the file's name; what it is

    def __init__(self, path: Path, errors: ReadErrors) -> None:
        self._path, self._errors = path, errors
        self._file: Any = self._open()
        self.topics: dict[int, Topic] = {}
        self._undefined: dict[int, str] = {}
        self._converters: dict[int, Callable[[bytes], memoryview]] = {}  # of ROS 1 messages
        self._pieces: dict[int, Piece] = {}
        expected = 0
        with suppress(Exception):  # damage raises many types
            expected = self._read_index()
        counts = self._count()
        known = {*self.topics, *self._undefined}
        if not counts or counts.total() != expected or counts.keys() - known:
            self._find_pieces()
            counts = self._count()
        if counts.total() < expected:
            lost = expected - counts.total()
            self._errors.add(f'{path.name}: {lost} of the {expected} messages of its index', lost)
        for number in counts.keys() - self.topics.keys():
            problem = self._undefined.get(number, f'{path.name}: topic {number} is not defined')
            self._errors.add(problem, counts[number])
        self.topics = {n: replace(t, count=counts[n]) for n, t in self.topics.items()}
        self._in_time = sorted(self._pieces.values(), key=lambda piece: piece[:2])
        first = self._in_time[0].start_ns if self._in_time else 0
        self.span = first, max((piece.end_ns for piece in self._in_time), default=0)

    def messages(
        self, wanted: Container[tuple[str, str]], start_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[Topic, int, bytes]]:
        """Yield topic, time and CDR bytes by receive time; ``wanted`` are names and types."""
        topics = {n: t for n, t in self.topics.items() if (t.name, t.type) in wanted}
        start = -END_OF_TIME if start_ns is None else start_ns
        end = END_OF_TIME if end_ns is None else end_ns
        for number, time_ns, data in self._in_order(topics, start, end):
            if start <= time_ns < end:
                try:
                    cdr = self._to_cdr(number, data)
                except Exception as error:  # noqa: BLE001 - damage raises many types
                    what = f'{topics[number].name} at {time_ns} ns: {in_one_line(error)}'
                    self._errors.add(what, 1)
                else:
                    yield topics[number], time_ns, cdr

    @property
    def count(self) -> int:
        """The number of messages."""
        return sum(topic.count for topic in self.topics.values())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> Any:
        return self._path.open('rb')

    def _read_index(self) -> int:
        """Add the topics and pieces of the index; return the number of its messages."""
        return 0

    @abstractmethod
    def _scan(self) -> Iterator[Piece]:
        """Yield the pieces; add the topics."""

    @abstractmethod
    def _read(self, position: int) -> Iterator[Message]:
        """Yield the messages of a piece; add its topics."""

    def _to_cdr(self, number: int, data: bytes) -> bytes:
        if number in self._converters:
            return bytes(self._converters[number](data))
        # only metadata.yaml, which may be missing, says whether messages are compressed
        return decompress('zstd', data) if data[:4] == ZSTD_MAGIC else bytes(data)

    def _add_ros1(self, number: int, name: str, kind: str, definition: str) -> None:
        try:
            made = convert_ros1_type(kind, definition)
        except Exception as error:  # noqa: BLE001 - parsers raise many types
            what = f'{name}: the definition of {kind} cannot be parsed'
            self._undefined[number] = f'{what}: {in_one_line(error)}'
        else:
            kind, parsed, self._converters[number] = made
            self.topics.setdefault(number, Topic(name, kind, 0, parsed))

    def _count(self) -> Counter[int]:
        counts = Counter[int]()
        for piece in self._pieces.values():
            counts.update(piece.counts)
        return counts

    def _find_pieces(self) -> None:
        position = 0
        try:
            for piece in self._scan():
                position = piece.position
                if piece.counts:
                    self._pieces[position] = piece
        except Exception as error:  # noqa: BLE001 - damage raises many types
            what = f'{self._path.name}: nothing can be read after {position}'
            reason, head = in_one_line(error), self._path.open('rb').read(16)
            if not (position or head.startswith(MAGIC[self.ending])):
                what = f'{self._path.name}: it is not {self.content}'
                reason = f'it begins with {head!r}'
            self._errors.add(f'{what}: {reason}')

    def _piece_at(self, position: int) -> Piece:
        found = self._messages_of(position)
        times = [message.time_ns for message in found]
        counts = Counter(message.topic for message in found)
        return Piece(min(times, default=0), position, max(times, default=0), counts)

    def _messages_of(
        self, position: int, expected: Mapping[int, int] | None = None
    ) -> list[Message]:
        """Return the messages of a piece up to a damage; ``expected`` are their numbers by topic."""
        found: list[Message] = []
        reason, lost = '', Counter(expected)
        try:
            for message in self._read(position):
                found.append(message)
                lost[message.topic] -= 1
        except Exception as error:  # noqa: BLE001 - damage raises many types
            reason = in_one_line(error)
        number = (+lost).total()
        if reason or number:
            what = f'{self._path.name}: the {self.piece} {position} is damaged'
            reason = reason or f'{number} of its {Counter(expected).total()} messages are missing'
            self._errors.add(f'{what}: {reason}', number)
        return found

    def _in_order(self, topics: Mapping[int, Topic], start: int, end: int) -> Iterator[Message]:
        waiting: list[tuple[int, int, Message]] = []
        number = count()
        for piece in self._in_time:
            is_in_time = piece.end_ns >= start and piece.start_ns < end
            if not is_in_time or topics.keys().isdisjoint(piece.counts):
                continue
            while waiting and waiting[0][0] < piece.start_ns:
                yield heapq.heappop(waiting)[2]
            for message in self._messages_of(piece.position, piece.counts):
                if message.topic in topics:
                    heapq.heappush(waiting, (message.time_ns, next(number), message))
        while waiting:
            yield heapq.heappop(waiting)[2]


class SqliteFile(Storage):
    """Rows of a SQLite file, including its write-ahead log."""

    piece = 'row'
    ending, content = '.db3', 'a database of SQLite'

    def _open(self) -> sqlite3.Connection:
        # immutable: without a log, neither the file nor its folder is written
        has_log, has_index = (Path(f'{self._path}-{end}').exists() for end in ('wal', 'shm'))
        if has_log and not has_index and not os.access(self._path.parent, os.W_OK):
            reason = 'its write-ahead log is not read in a folder that cannot be written: copy both'
            self._errors.add(f'{self._path.name}: {reason}')
            has_log = False
        mode = 'mode=ro' if has_log else 'immutable=1'
        uri = f'{self._path.absolute().as_uri()}?{mode}'
        database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        # read files that are shorter than their header says
        database.execute('PRAGMA writable_schema = ON')
        database.row_factory = sqlite3.Row
        return database

    def _scan(self) -> Iterator[Piece]:
        for row in self._file.execute('SELECT * FROM topics'):
            self._add(dict(row))
        counts: dict[int, dict[int, int]] = {}  # shared by the rows of a topic
        for row, topic, time_ns in self._rows():
            if isinstance(time_ns, int) and time_ns >= 0:
                yield Piece(time_ns, row, time_ns, counts.setdefault(topic, {topic: 1}))
            else:
                what = f'{self._path.name}: the time of row {row} is {time_ns!r}'
                self._errors.add(what, 1)

    def _rows(self) -> Iterator[sqlite3.Row]:
        """Yield id, topic and time of the rows, without those of damaged pages."""
        first = 0
        while True:
            try:
                for row in self._file.execute(ROWS, (first,)):
                    yield row
                    first = row[0] + 1
            except sqlite3.DatabaseError as error:  # noqa: PERF203 - once for each damage
                following = self._readable_after(first, error)
                what = f'{self._path.name}: the rows {first} to {following - 1} are damaged'
                self._errors.add(f'{what}: {error}', following - max(first, 1))
                first = following
            else:
                return

    def _readable_after(self, damaged: int, error: Exception) -> int:
        """Return the first row behind the damage at a row; raise the error if there is none."""
        step = 1
        while not self._is_readable(damaged + step):
            step *= 2
            if step > MOST_ROWS:
                raise error
        found = bisect_left(range(step), True, key=lambda row: self._is_readable(damaged + row))
        return damaged + found

    def _is_readable(self, row: int) -> bool:
        with suppress(sqlite3.DatabaseError):
            self._file.execute(ROWS, (row,)).fetchone()
            return True
        return False

    def _read(self, position: int) -> Iterator[Message]:
        query = 'SELECT topic_id, timestamp, data FROM messages WHERE id = ?'
        row = self._file.execute(query, (position,)).fetchone()
        if row is None:
            # damaged rows hide their neighbours from a search
            row = next(r[1:] for r in self._file.execute(NEIGHBOURS, {'id': position}) if r[3])
        yield Message(*row)

    def _add(self, row: dict[str, str]) -> None:
        known = {'encoding': '', 'encoded_message_definition': ''}
        query = 'SELECT * FROM message_definitions WHERE topic_type = ?'
        with suppress(sqlite3.Error):  # recordings before ROS 2 Iron have no such table
            known = self._file.execute(query, (row['type'],)).fetchone() or known
        definition = definition_of(known['encoding'], known['encoded_message_definition'])
        qos = qos_of(row.get('offered_qos_profiles') or '')
        kind, encoding = full_name(row['type']), row.get('serialization_format') or CDR
        self.topics[int(row['id'])] = Topic(row['name'], kind, 0, definition, qos, encoding)


class Rosbag1File(Storage):
    """Chunks of a ROS 1 file; see http://wiki.ros.org/Bags/Format/2.0."""

    ending, content = '.bag', 'a bag of ROS 1, version 2.0'

    def __init__(self, path: Path, errors: ReadErrors) -> None:
        self._reader = rosbag1.Reader(path)
        super().__init__(path, errors)

    def _read_index(self) -> int:
        index = rosbag1.Reader(self._path)
        index.open()
        for connection in index.connections:
            self._add(connection)
        for position, start_ns, end_ns, counts in index.chunk_infos:
            if counts:
                self._pieces[position] = Piece(start_ns, position, end_ns - 1, counts)
        expected: int = sum(connection.msgcount for connection in index.connections)
        index.close()
        return expected

    def _scan(self) -> Iterator[Piece]:
        position, size = len(b'#ROSBAG V2.0\n'), self._path.stat().st_size
        if position >= size:
            msg = 'it was cut off before its header'
            raise BagError(msg)
        while position < size:
            self._file.seek(position)
            header = rosbag1.Header.read(self._file)
            end = rosbag1.read_uint32(self._file) + self._file.tell()
            kind = header.get_uint8('op')
            if kind == rosbag1.RecordType.BAGHEADER and header.get_uint64('index_pos') == 0:
                self._errors.add(f'{self._path.name} has no index, its recording was interrupted')
            elif kind == rosbag1.RecordType.CHUNK:
                yield self._piece_at(position)
            elif kind == rosbag1.RecordType.CONNECTION:
                # repeated behind the chunks, some of which may be damaged
                self._file.seek(position)
                list(self._take(self._file))
            position = end
        if position > size:
            msg = 'it is cut short'
            raise BagError(msg)

    def _read(self, position: int) -> Iterator[Message]:
        self._file.seek(position)
        kind = rosbag1.Header.read(self._file).get_string('compression')
        # less where the file is cut short
        data = self._file.read(rosbag1.read_uint32(self._file))
        source = BytesIO(data if kind == 'none' else decompress(kind, data))
        size = len(source.getbuffer())
        while source.tell() < size:
            yield from self._take(source)

    def _take(self, source: BinaryIO) -> Iterator[Message]:
        start = source.tell()
        header = rosbag1.Header.read(source)
        kind = header.get_uint8('op')
        if kind == rosbag1.RecordType.CONNECTION:
            source.seek(start)
            self._reader.bio = source
            self._add(self._reader.read_connection())
            return
        data = rosbag1.read_bytes(source, rosbag1.read_uint32(source))
        if kind == rosbag1.RecordType.MSGDATA:
            yield Message(header.get_uint32('conn'), header.get_time('time'), data)

    def _add(self, one: Connection) -> None:
        self._add_ros1(one.id, one.topic, one.msgtype, one.msgdef.data)


def qos_of(text: str) -> tuple[Qos, ...]:
    """Return the profiles of publishers; none of a text that rosbag2 cannot play, as scripts write."""
    with suppress(Exception):  # missing fields and other types raise many types
        return tuple(parse_qos(text))
    return ()


def definition_of(encoding: str, text: str) -> MessageDefinition:
    """Return a definition of a known encoding, or else an empty one."""
    known = FORMATS.get(encoding, NONE)
    return MessageDefinition(known, '' if known is NONE else text)
