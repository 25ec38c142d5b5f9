"""What can be read of an MCAP file that is cut short or damaged.

The format: https://mcap.dev/spec. A file is a row of records; messages stand in chunks, which are
compressed one by one, or between them. A chunk that is damaged costs its own messages only.
"""

from __future__ import annotations

import heapq
import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, Message, MessageIndex, Schema
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag2.metadata import parse_qos

from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.losses import ReadErrors
from lemore_ros.bags.recovery.salvage import Key, Read

MAGIC = b'\x89MCAP0\r\n'
RECORD = struct.Struct('<BQ')
TIMES = struct.Struct('<QQ')
# messages that stand outside chunks are read in runs of about this many bytes
RUN_BYTES = 4 * 2**20
FORMATS = {'ros2msg': MessageDefinitionFormat.MSG, 'ros2idl': MessageDefinitionFormat.IDL}


class Span(NamedTuple):
    """Bytes of the file that hold messages: a chunk, or a run of messages between chunks.

    ``messages`` is their number, None where only reading the chunk tells.
    """

    offset: int
    length: int
    start_ns: int
    end_ns: int
    messages: int | None


class Piece(NamedTuple):
    """A record within bytes or a file; ``body`` may be cut short at the end."""

    opcode: int
    offset: int
    length: int
    is_whole: bool


class McapSalvage:
    """The records of a file that could be found by going through it from its beginning.

    Raises:
        BagError: it does not begin as an MCAP file does.

    """

    def __init__(self, path: Path, losses: ReadErrors) -> None:
        self._name = path.name
        self._losses = losses
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._counts: Counter[int] = Counter()
        self._file = path.open('rb')
        self._size = path.stat().st_size
        try:
            self._require_magic(path)
            self._spans = self._scan()
        except BaseException:
            self._file.close()
            raise
        spans = [span for span in self._spans if span.messages]
        self.span = (
            min((span.start_ns for span in spans), default=0),
            max((span.end_ns for span in spans), default=0),
        )
        self.connections = [self._connection(channel) for channel in self._channels.values()]

    def messages(
        self, keys: Collection[Key], start_ns: int | None, end_ns: int | None
    ) -> Iterator[Read]:
        """Yield connection, receive time and CDR bytes, in the order of the receive times."""
        wanted = {c.id: c for c in self.connections if (c.topic, c.msgtype) in keys}
        first = 0 if start_ns is None else start_ns
        after = 2**64 if end_ns is None else end_ns
        spans = [s for s in self._spans if s.end_ns >= first and s.start_ns < after]
        merged = heapq.merge(*(self._of_span(span) for span in spans), key=lambda item: item[:2])
        for _, _, message in merged:
            if message is not None and first <= message.log_time < after:
                connection = wanted.get(message.channel_id)
                if connection is not None:
                    yield connection, message.log_time, message.data

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _require_magic(self, path: Path) -> None:
        if self._file.read(len(MAGIC)) != MAGIC:
            msg = f'{path} does not begin as an MCAP file does'
            raise BagError(msg)

    def _of_span(self, span: Span) -> Iterator[tuple[int, int, Message | None]]:
        # merging asks every span for its first item: this one costs no reading
        yield span.start_ns, span.offset, None
        found = sorted(self._read(span), key=lambda message: message.log_time)
        for message in found:
            yield message.log_time, span.offset, message

    def _read(self, span: Span) -> list[Message]:
        """Return a span's messages, and learn the channels that it tells of."""
        self._file.seek(span.offset)
        data = self._file.read(span.length)
        found: list[Message] = []
        for piece in walk(BytesIO(data), 0, len(data)):
            body = data[piece.offset : piece.offset + piece.length]
            if piece.opcode == Opcode.CHUNK:
                where = f'{self._name}: the chunk at byte {span.offset}'
                found += self._of_chunk(body, where, span, is_whole=piece.is_whole)
            elif piece.is_whole:
                self._take(piece.opcode, body, found)
        return found

    def _of_chunk(self, body: bytes, where: str, span: Span, *, is_whole: bool) -> list[Message]:
        found: list[Message] = []
        try:
            chunk = Chunk.read(_stream(body))
            data, problem = expand(chunk)
        except (struct.error, UnicodeDecodeError, BagError) as error:
            self._losses.add(f'{where} is damaged: {error}', span.messages or 0)
            return found
        for piece in walk(BytesIO(data), 0, len(data)):
            if piece.is_whole:
                end = piece.offset + piece.length
                self._take(piece.opcode, data[piece.offset : end], found)
        if problem or not is_whole:
            lost = max(0, (span.messages or 0) - len(found))
            self._losses.add(f'{where} is {problem or "cut short"}', lost)
        return found

    def _take(self, opcode: int, body: bytes, found: list[Message]) -> None:
        try:
            if opcode == Opcode.MESSAGE:
                found.append(Message.read(_stream(body), len(body)))
            elif opcode == Opcode.SCHEMA:
                schema = Schema.read(_stream(body))
                self._schemas.setdefault(schema.id, schema)
            elif opcode == Opcode.CHANNEL:
                channel = Channel.read(_stream(body))
                self._channels.setdefault(channel.id, channel)
        except (struct.error, UnicodeDecodeError) as error:
            self._losses.add(f'{self._name}: a record of kind {opcode} is damaged: {error}')

    def _scan(self) -> list[Span]:
        spans: list[Span] = []
        for piece in walk(self._file, len(MAGIC), self._size):
            if piece.opcode == Opcode.DATA_END:
                return spans
            self._note(piece, spans)
            if not piece.is_whole:
                cut = self._size - piece.offset + RECORD.size
                self._losses.add(f'{self._name}: no more records are found in the last {cut} bytes')
                return spans + self._from_summary(piece.offset)
        self._losses.add(f'{self._name} is cut short: its end is missing')
        return spans

    def _from_summary(self, offset: int) -> list[Span]:
        """Return the chunks behind ``offset`` of which the file's end tells, if it is whole."""
        try:
            summary = make_reader(self._file).get_summary()
        except (McapError, struct.error, ValueError, OSError):
            return []
        if summary is None:
            return []
        self._schemas = {**summary.schemas, **self._schemas}
        self._channels = {**summary.channels, **self._channels}
        return [
            self._count(
                Span(
                    index.chunk_start_offset,
                    index.chunk_length,
                    index.message_start_time,
                    index.message_end_time,
                    None,
                )
            )
            for index in summary.chunk_indexes
            if index.chunk_start_offset >= offset
        ]

    def _note(self, piece: Piece, spans: list[Span]) -> None:
        start, whole = piece.offset - RECORD.size, piece.length + RECORD.size
        if piece.opcode == Opcode.CHUNK:
            times = self._file.read(TIMES.size)
            if len(times) == TIMES.size:
                first, last = TIMES.unpack(times)
                spans.append(self._count(Span(start, whole, first, last, None)))
        elif piece.opcode == Opcode.MESSAGE and piece.is_whole:
            channel, time_ns = struct.unpack('<HxxxxQ', self._file.read(14))
            self._counts[channel] += 1
            spans.append(Span(start, whole, time_ns, time_ns, 1))
            if len(spans) > 1:
                spans[-2:] = joined(*spans[-2:])
        elif piece.opcode in {Opcode.SCHEMA, Opcode.CHANNEL} and piece.is_whole:
            self._take(piece.opcode, self._file.read(piece.length), [])

    def _count(self, span: Span) -> Span:
        """Return the span with its number of messages, from the indices that follow it."""
        counts = self._indexed(span.offset + span.length)
        if not counts or counts.keys() - self._channels.keys():
            # a chunk without an index, or the first one that tells of a channel
            read = Counter(message.channel_id for message in self._read(span))
            counts = counts or read
        self._counts += counts
        return span._replace(messages=counts.total())

    def _indexed(self, offset: int) -> Counter[int]:
        counts: Counter[int] = Counter()
        for piece in walk(self._file, offset, self._size):
            if piece.opcode != Opcode.MESSAGE_INDEX:
                return counts
            if not piece.is_whole:
                break
            index = MessageIndex.read(_stream(self._file.read(piece.length)))
            counts[index.channel_id] = len(index.records)
        # the file ends within the indices: they do not tell of all messages
        return Counter()

    def _connection(self, channel: Channel) -> Connection:
        schema = self._schemas.get(channel.schema_id)
        form = FORMATS.get(schema.encoding if schema else '', MessageDefinitionFormat.NONE)
        text = schema.data.decode() if schema and form is not MessageDefinitionFormat.NONE else ''
        qos = parse_qos(channel.metadata.get('offered_qos_profiles', ''))
        return Connection(
            channel.id,
            channel.topic,
            schema.name if schema else '',
            MessageDefinition(form, text),
            '',
            self._counts[channel.id],
            ConnectionExtRosbag2(channel.message_encoding, qos),
            self,
        )


def walk(file: BinaryIO, offset: int, size: int) -> Iterator[Piece]:
    """Yield the records from ``offset`` until ``size``; the file stands at each one's body then."""
    while offset + RECORD.size <= size:
        file.seek(offset)
        opcode, length = RECORD.unpack(file.read(RECORD.size))
        offset += RECORD.size
        yield Piece(opcode, offset, min(length, size - offset), offset + length <= size)
        offset += length


def joined(first: Span, second: Span) -> list[Span]:
    """Return two runs of messages as one, if one follows the other and they are not too large."""
    is_next = first.offset + first.length == second.offset and first.messages and second.messages
    if not is_next or first.length > RUN_BYTES:
        return [first, second]
    return [
        Span(
            first.offset,
            first.length + second.length,
            min(first.start_ns, second.start_ns),
            max(first.end_ns, second.end_ns),
            (first.messages or 0) + (second.messages or 0),
        )
    ]


def expand(chunk: Chunk) -> tuple[bytes, str]:
    """Return a chunk's records as far as they can be decompressed, and what is wrong with them.

    Raises:
        BagError: the compression is not known, or nothing can be decompressed.

    """
    if not chunk.compression:
        data, problem = chunk.data, ''
    elif chunk.compression == 'zstd':
        data, problem = _expand_zstd(chunk.data)
    elif chunk.compression == 'lz4':
        data, problem = _expand_lz4(chunk.data)
    else:
        msg = f'its compression {chunk.compression!r} is not known'
        raise BagError(msg)
    if not problem and len(data) != chunk.uncompressed_size:
        problem = 'cut short'
    if not problem and chunk.uncompressed_crc not in {0, zlib.crc32(data)}:
        problem = 'changed: its checksum differs, what its messages hold may be wrong'
    return data, problem


def _expand_zstd(data: bytes) -> tuple[bytes, str]:
    found = b''
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            while part := reader.read(2**20):
                found += part
    except zstandard.ZstdError as error:
        return found, f'damaged: {error}'
    return found, ''


def _expand_lz4(data: bytes) -> tuple[bytes, str]:
    try:
        return lz4.frame.LZ4FrameDecompressor().decompress(data), ''
    except (RuntimeError, EOFError) as error:
        return b'', f'damaged: {error}'


def _stream(body: bytes) -> ReadDataStream:
    return ReadDataStream(BytesIO(body))
