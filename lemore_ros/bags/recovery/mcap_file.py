"""MCAP files without a readable summary: the reader of the package mcap goes through them.

A chunk that it cannot decompress costs its own messages; what it cannot read ends what is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mcap.records import Channel, Chunk, DataEnd, McapRecord, Message, Schema
from mcap.stream_reader import MAGIC_SIZE, StreamReader, breakup_chunk
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition
from rosbags.interfaces import MessageDefinitionFormat as Format

from lemore_core.common.limits import MAX_MESSAGE_BYTES
from lemore_ros.bags.errors import ReadErrors
from lemore_ros.bags.io.bounded import KINDS, decompress
from lemore_ros.bags.recovery.damaged_file import DamagedFile, Found, read_qos

FORMATS = {'ros2msg': Format.MSG, 'ros2idl': Format.IDL}


class McapFile(DamagedFile):
    """The chunks of a file, and the messages between them."""

    def __init__(self, path: Path, errors: ReadErrors) -> None:
        self._schemas: dict[int, Schema] = {}
        super().__init__(path, path.open('rb'), errors)

    def _scan(self) -> Iterator[tuple[int, list[Found]]]:
        offset = MAGIC_SIZE
        for record in _records(self._file):
            if isinstance(record, DataEnd):
                return
            yield offset, self._messages(record, offset)
            offset = self._file.tell()

    def _read(self, place: int) -> list[Found]:
        self._file.seek(place)
        return self._messages(next(_records(self._file, skip_magic=True)), place)

    def _messages(self, record: McapRecord, offset: int) -> list[Found]:
        found: list[Found] = []
        try:
            records = _expanded(record) if isinstance(record, Chunk) else [record]
        except Exception as error:  # noqa: BLE001 - damage shows in a dozen ways
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
        form = FORMATS.get(schema.encoding, Format.NONE)
        definition = MessageDefinition(form, schema.data.decode(errors='replace'))
        qos = read_qos(channel.metadata.get('offered_qos_profiles', ''))
        more = ConnectionExtRosbag2(channel.message_encoding, qos)
        return Connection(channel.id, channel.topic, schema.name, definition, '', 0, more, self)


def _records(file: Any, *, skip_magic: bool = False) -> Iterator[McapRecord]:
    reader = StreamReader(
        file, skip_magic=skip_magic, emit_chunks=True, record_size_limit=MAX_MESSAGE_BYTES
    )
    return iter(reader.records)


def _expanded(chunk: Chunk) -> list[McapRecord]:
    if chunk.compression in KINDS:
        # its own reader has no limit
        data = decompress(chunk.compression, chunk.data, chunk.uncompressed_size)
        chunk = replace(chunk, compression='', data=data)
    return list(breakup_chunk(chunk, validate_crc=True))
