"""Read mcap files; see https://mcap.dev/spec."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from zlib import crc32

from mcap import records as mcap
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.stream_reader import MAGIC_SIZE, StreamReader, read_magic

from lemore_core.common.limits import MAX_MESSAGE_BYTES
from lemore_ros.bags.compression import decompress
from lemore_ros.bags.errors import BagError, ReadErrors
from lemore_ros.bags.storage import Message, Piece, Storage, definition_of, qos_of
from lemore_ros.bags.types import Topic, full_name

HEAD = 9  # bytes of a record's opcode and length
INDEX_HEAD = HEAD + 6  # of a message index, and bytes of each message in it
INDEX_ENTRY = 16
DATA_END_BYTES = 4
KINDS = {*Opcode, *range(0x80, 0x100)}  # and those of applications
PARTS: Mapping[int, Callable[[ReadDataStream], mcap.McapRecord]] = {
    Opcode.SCHEMA: mcap.Schema.read,
    Opcode.CHANNEL: mcap.Channel.read,
}
ROS1 = 'ros1'


class McapFile(Storage):
    """Chunks and top-level messages of an mcap file."""

    ending, content = '.mcap', 'an mcap file'

    def __init__(self, path: Path, errors: ReadErrors) -> None:
        self._schemas: dict[int, mcap.Schema] = {}
        super().__init__(path, errors)

    def _read_index(self) -> int:
        self._file.seek(0)
        summary = make_reader(self._file).get_summary()
        if summary is None:
            return 0
        self._schemas = summary.schemas
        for channel in summary.channels.values():
            self._add(channel)
        for chunk in summary.chunk_indexes:
            position, length = chunk.chunk_start_offset, chunk.chunk_length
            starts = sorted(
                (place, number) for number, place in chunk.message_index_offsets.items()
            )
            ends = [
                *(place for place, _ in starts[1:]),
                position + length + chunk.message_index_length,
            ]
            counts = {
                number: (end - place - INDEX_HEAD) // INDEX_ENTRY
                for (place, number), end in zip(starts, ends, strict=False)
            }
            if counts and self._read_head(position) == (Opcode.CHUNK, length - HEAD):
                times = chunk.message_start_time, position, chunk.message_end_time
                self._pieces[position] = Piece(*times, counts)
        return summary.statistics.message_count if summary.statistics else self._count().total()

    def _scan(self) -> Iterator[Piece]:
        self._file.seek(0)
        read_magic(ReadDataStream(self._file))
        position, size = MAGIC_SIZE, self._path.stat().st_size
        while True:
            if position + HEAD > size:
                msg = 'its end is missing, it was not finished'
                raise BagError(msg)
            kind, length = self._read_head(position)
            if (kind, length) == (Opcode.DATA_END, DATA_END_BYTES):
                return
            if kind in (0, Opcode.DATA_END) or position + HEAD + length > size:
                msg = f'the record at byte {position} is damaged or cut short'
                raise BagError(msg)
            if kind not in KINDS:
                self._errors.add(f'{self._path.name}: the record at byte {position} is damaged')
            if kind in (Opcode.CHUNK, Opcode.MESSAGE, *PARTS):
                yield self._piece_at(position)
            position += HEAD + length

    def _read(self, position: int) -> Iterator[Message]:
        self._file.seek(position)
        options = {'skip_magic': True, 'emit_chunks': True}
        reader = StreamReader(self._file, record_size_limit=MAX_MESSAGE_BYTES, **options)
        record = next(iter(reader.records))
        for one in _expand(record) if isinstance(record, mcap.Chunk) else [record]:
            if isinstance(one, mcap.Message):
                yield Message(one.channel_id, one.log_time, one.data)
            elif isinstance(one, mcap.Schema):
                self._schemas[one.id] = one
            elif isinstance(one, mcap.Channel):
                self._add(one)

    def _read_head(self, position: int) -> tuple[int, int]:
        self._file.seek(position)
        stream = ReadDataStream(self._file)
        return stream.read1(), stream.read8()

    def _add(self, channel: mcap.Channel) -> None:
        schema = self._schemas.get(channel.schema_id, mcap.Schema(0, b'', '', ''))
        text, encoding = schema.data.decode(errors='replace'), channel.message_encoding
        name = full_name(schema.name)
        if encoding == ROS1:
            self._add_ros1(channel.id, channel.topic, name, text)
            return
        qos = qos_of(channel.metadata.get('offered_qos_profiles', ''))
        definition = definition_of(schema.encoding, text)
        topic = Topic(channel.topic, name, 0, definition, qos, encoding)
        self.topics.setdefault(channel.id, topic)


def _expand(chunk: mcap.Chunk) -> Iterator[mcap.McapRecord]:
    """Yield the sound records of a chunk, then raise a BagError if there is damage."""
    data = chunk.data
    if chunk.compression:
        # the mcap package decompresses without a limit
        data = decompress(chunk.compression, data, chunk.uncompressed_size)
    stream, end, reason = ReadDataStream(BytesIO(data)), 0, ''
    while end < len(data) and stream.count == end:
        kind, length = stream.read1(), stream.read8()
        start, end = end, end + HEAD + length
        record = None
        if kind == Opcode.MESSAGE and end <= len(data):
            record = mcap.Message.read(stream, length)
        elif kind in PARTS:
            record = PARTS[kind](stream)
        stream.read(min(end, len(data)) - stream.count)
        if kind not in KINDS or stream.count != end:
            reason = f'its record at byte {start} is damaged'
        if record is not None and stream.count == end:
            yield record
    if chunk.uncompressed_crc not in (0, crc32(data)):
        reason = reason or 'its checksum does not match, the messages are read as they are'
    if reason:
        raise BagError(reason)
