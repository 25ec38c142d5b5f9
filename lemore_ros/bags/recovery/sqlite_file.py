"""rosbag2's SQLite files that are cut short or damaged: rows are read until the damage."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition
from rosbags.interfaces import MessageDefinitionFormat as Format

from lemore_ros.bags.errors import ReadErrors
from lemore_ros.bags.recovery.damaged_file import DamagedFile, Found, read_qos
from lemore_ros.bags.recovery.mcap_file import FORMATS


class SqliteFile(DamagedFile):
    """The rows of a file."""

    def __init__(self, path: Path, errors: ReadErrors) -> None:
        # immutable: a damaged file is not repaired, nor are files made beside it
        name = f'{path.absolute().as_uri()}?immutable=1'
        database = sqlite3.connect(name, uri=True, check_same_thread=False)
        # else SQLite reads nothing of a file that is shorter than it says
        database.execute('PRAGMA writable_schema = ON')
        database.row_factory = sqlite3.Row
        super().__init__(path, database, errors)

    def _scan(self) -> Iterator[tuple[int, list[Found]]]:
        for row in self._file.execute('SELECT * FROM topics'):
            self._known[row['id']] = self._connection(dict(row))
        query = 'SELECT id, topic_id, timestamp FROM messages ORDER BY id'
        for place, topic, time_ns in self._file.execute(query):
            yield place, [Found(topic, time_ns, b'')]

    def _read(self, place: int) -> list[Found]:
        query = 'SELECT topic_id, timestamp, data FROM messages WHERE id = ?'
        try:
            return [Found(*self._file.execute(query, (place,)).fetchone())]
        except sqlite3.Error as error:
            self._lose(f'row {place} is damaged', error, 1)
            return []

    def _definition(self, kind: str) -> MessageDefinition:
        query = 'SELECT * FROM message_definitions WHERE topic_type = ?'
        try:
            row = self._file.execute(query, (kind,)).fetchone()
        except sqlite3.Error:
            # recordings before ROS 2 Iron have none
            row = None
        if row is None or row['encoding'] not in FORMATS:
            return MessageDefinition(Format.NONE, '')
        return MessageDefinition(FORMATS[row['encoding']], row['encoded_message_definition'])

    def _connection(self, row: dict[str, str]) -> Connection:
        qos = read_qos(row.get('offered_qos_profiles') or '')
        more = ConnectionExtRosbag2(row['serialization_format'], qos)
        kind, digest = row['type'], row.get('type_description_hash') or ''
        definition = self._definition(kind)
        return Connection(int(row['id']), row['name'], kind, definition, digest, 0, more, self)
