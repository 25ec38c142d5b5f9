"""What can be read of a rosbag2 SQLite file that is cut short or damaged: row by row."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

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

# rows are numbered without gaps; after so many unreadable ones in a row there are no more
PATIENCE = 2000
FORMATS = {'ros2msg': MessageDefinitionFormat.MSG, 'ros2idl': MessageDefinitionFormat.IDL}
UNDEFINED = MessageDefinition(MessageDefinitionFormat.NONE, '')


class SqliteSalvage:
    """The rows of a file that can be read one by one.

    Raises:
        BagError: not even its topics can be read.

    """

    def __init__(self, path: Path, losses: ReadErrors) -> None:
        self._name = path.name
        self._losses = losses
        # immutable: a damaged file is not repaired, nor are files made beside it
        self._database = sqlite3.connect(
            f'{path.absolute().as_uri()}?immutable=1', uri=True, check_same_thread=False
        )
        # else SQLite reads nothing of a file that is shorter than it says
        self._database.execute('PRAGMA writable_schema = ON')
        try:
            topics = self._rows('SELECT * FROM topics')
        except sqlite3.Error as error:
            self._database.close()
            msg = f'the topics of {path} cannot be read: {error}'
            raise BagError(msg) from error
        # (receive time, row, topic), in the order in which rosbag2 gives them
        self._index = sorted(self._readable())
        counts = Counter(topic for _, _, topic in self._index)
        definitions = self._definitions()
        self.connections = [
            Connection(
                row['id'],
                row['name'],
                row['type'],
                definitions.get(row['type'], UNDEFINED),
                row.get('type_description_hash') or '',
                counts[row['id']],
                ConnectionExtRosbag2(
                    row['serialization_format'], parse_qos(row.get('offered_qos_profiles') or '')
                ),
                self,
            )
            for row in topics
        ]
        times = [time_ns for time_ns, _, _ in self._index]
        self.span = (times[0], times[-1]) if times else (0, 0)

    def messages(
        self, keys: Collection[Key], start_ns: int | None, end_ns: int | None
    ) -> Iterator[Read]:
        """Yield connection, receive time and CDR bytes, in the order of the receive times."""
        wanted = {c.id: c for c in self.connections if (c.topic, c.msgtype) in keys}
        for time_ns, row, topic in self._index:
            is_after_start = start_ns is None or time_ns >= start_ns
            if topic in wanted and is_after_start and (end_ns is None or time_ns < end_ns):
                query = 'SELECT data FROM messages WHERE id = ?'
                try:
                    (data,) = self._database.execute(query, (row,)).fetchone()
                except sqlite3.Error as error:
                    self._losses.add(f'{self._name}: row {row} cannot be read: {error}', 1)
                    continue
                yield wanted[topic], time_ns, data

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _rows(self, query: str) -> list[dict[str, Any]]:
        with closing(self._database.execute(query)) as cursor:
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def _definitions(self) -> dict[str, MessageDefinition]:
        try:
            rows = self._rows('SELECT * FROM message_definitions')
        except sqlite3.Error:
            # recordings before ROS 2 Iron have none
            return {}
        return {
            str(row['topic_type']): MessageDefinition(
                FORMATS[str(row['encoding'])], str(row['encoded_message_definition'])
            )
            for row in rows
            if row['encoding'] in FORMATS
        }

    def _readable(self) -> Iterator[tuple[int, int, int]]:
        row, last, failures, reason = 0, 0, 0, ''
        while row - last <= PATIENCE:
            row += 1
            try:
                query = 'SELECT timestamp, topic_id FROM messages WHERE id = ?'
                found = self._database.execute(query, (row,)).fetchone()
            except sqlite3.Error as error:
                failures, reason = failures + 1, str(error)
                continue
            if found is not None:
                last = row
                yield int(found[0]), row, int(found[1])
        # behind the last readable row nobody knows how many there were
        lost = max(0, failures - PATIENCE)
        if failures:
            self._losses.add(f'{self._name}: rows cannot be read: {reason}', lost)
