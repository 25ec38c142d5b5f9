"""ROS 1 bags without a readable index: recordings that broke off, cut short or damaged.

The format: http://wiki.ros.org/Bags/Format/2.0. A file is a row of records; connections and
messages stand in chunks, which are compressed one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from rosbags.interfaces import Connection, ConnectionExtRosbag1, MessageDefinition
from rosbags.interfaces import MessageDefinitionFormat as Format
from rosbags.rosbag1 import reader as rosbag1
from rosbags.rosbag1.reader import Header, RecordType, read_bytes, read_uint32
from rosbags.typesys.msg import normalize_msgtype

from lemore_ros.bags.errors import ReadErrors
from lemore_ros.bags.recovery.damaged_file import DamagedFile, Found


class Rosbag1File(DamagedFile):
    """The chunks of a file."""

    def __init__(self, path: Path, errors: ReadErrors) -> None:
        self._size = path.stat().st_size
        super().__init__(path, path.open('rb'), errors)

    def _scan(self) -> Iterator[tuple[int, list[Found]]]:
        offset = len(b'#ROSBAG V2.0\n')
        while offset < self._size:
            self._file.seek(offset)
            header = Header.read(self._file)
            end = read_uint32(self._file) + self._file.tell()
            kind = header.get_uint8('op')
            if kind == RecordType.BAGHEADER and header.get_uint64('index_pos') == 0:
                self._errors.add(f'{self._name} has no index, its recording broke off')
            elif kind == RecordType.CHUNK:
                yield offset, self._read(offset)
            elif kind == RecordType.CONNECTION:
                # the index has it as well, for chunks that cannot be read
                self._file.seek(offset)
                self._take(self._file, [])
            offset = end

    def _read(self, place: int) -> list[Found]:
        found: list[Found] = []
        self._file.seek(place)
        try:
            expand = rosbag1.decompressors[Header.read(self._file).get_string('compression')]
            data = expand(read_bytes(self._file, read_uint32(self._file)))
            source = BytesIO(data)
            while source.tell() < len(data):
                self._take(source, found)
        except Exception as error:  # noqa: BLE001 - damage shows in a dozen ways
            self._lose(f'the chunk at byte {place} is damaged', error)
        return found

    def _take(self, source: BinaryIO, found: list[Found]) -> None:
        header = Header.read(source)
        number, kind = header.get_uint32('conn'), header.get_uint8('op')
        if kind == RecordType.MSGDATA:
            data = read_bytes(source, read_uint32(source))
            found.append(Found(number, header.get_time('time'), data))
        elif kind == RecordType.CONNECTION:
            # its fields are written as those of a header
            fields = Header.read(source)
            definition = MessageDefinition(Format.MSG, fields.get_string('message_definition'))
            self._known[number] = Connection(
                number,
                rosbag1.normalize(header.get_string('topic')),
                normalize_msgtype(fields.get_string('type')),
                definition,
                fields.get_string('md5sum'),
                0,
                ConnectionExtRosbag1(None, None),
                self,
            )
