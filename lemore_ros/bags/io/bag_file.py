"""A file of a bag: what rosbags reads of it, and from a damage on what else is found in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection

from lemore_core.common.errors import in_one_line
from lemore_ros.bags.errors import BagError, ReadErrors
from lemore_ros.bags.recovery.damaged_file import DamagedFile, Key

Read = tuple[Connection, int, bytes]
Damaged = Callable[[Path, ReadErrors], DamagedFile]


class BagFile:
    """An open file; ``reader`` is one of rosbags, None for a file that it cannot open.

    Whoever opened the reader closes it. ``span`` are the receive times of the first and the last message, (0, 0) for none.
    """

    def __init__(self, path: Path, reader: Any, damaged: Damaged, errors: ReadErrors) -> None:
        self._path = path
        self._reader = reader
        self._make_damaged = damaged
        self._errors = errors
        self._damaged: DamagedFile | None = None
        if reader is None:
            self.connections = self._rest().connections
            self.span = self._rest().span
        else:
            self.connections = list(reader.connections)
            times = getattr(reader, 'metadata', reader)
            self.span = (times.start_time, times.end_time - 1) if times.message_count else (0, 0)

    def messages(
        self, keys: Collection[Key], start_ns: int | None, end_ns: int | None
    ) -> Iterator[Read]:
        """Yield connection, receive time and bytes of topics, in the order of the receive times.

        Both readers go by the receive times: what the second one gives again is known by its time,
        and among the messages of the last time by topic and content.
        """
        last, given = start_ns, Counter[tuple[str, str, bytes]]()
        if self._reader is not None:
            found = [c for c in self.connections if (c.topic, c.msgtype) in keys]
            if not found:
                return
            try:
                for connection, time_ns, data in self._reader.messages(found, start_ns, end_ns):
                    if time_ns != last:
                        last, given = time_ns, Counter()
                    given[connection.topic, connection.msgtype, data] += 1
                    yield connection, time_ns, data
            except Exception as error:  # noqa: BLE001 - damage shows in a dozen ways
                self._add_damage(last, error)
            else:
                return
        for connection, time_ns, data in self._rest().messages(keys, last, end_ns):
            key = connection.topic, connection.msgtype, data
            if time_ns == last and given[key]:
                given[key] -= 1
            else:
                yield connection, time_ns, data

    def close(self) -> None:
        """Close what was opened here."""
        if self._damaged is not None:
            self._damaged.close()

    def _add_damage(self, last_ns: int | None, error: Exception) -> None:
        expected, left = (
            sum(c.msgcount for c in connections)
            for connections in (self.connections, self._rest().connections)
        )
        where = f'after {last_ns} ns' if last_ns else 'at its beginning'
        what = f'{self._path.name} is damaged {where}: {in_one_line(error)}'
        self._errors.add(what, max(0, expected - left))

    def _rest(self) -> DamagedFile:
        if self._damaged is None:
            self._damaged = self._make_damaged(self._path, self._errors)
        return self._damaged


def try_open(kind: Callable[[Path], Any], path: Path) -> Any:
    """Open a bag or a file with a reader of rosbags; None for a damaged one.

    Raises:
        BagError: it may not be read.
    """
    try:
        reader = kind(path)
        reader.open()
    except PermissionError as error:
        msg = f'{path} cannot be read: {in_one_line(error)}'
        raise BagError(msg) from error
    except Exception:  # noqa: BLE001 - as above
        return None
    return reader
