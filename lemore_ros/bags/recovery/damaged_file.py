"""What a damaged file still holds, piece by piece and in the order of the receive times."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2.metadata import parse_qos

from lemore_core.common.errors import in_one_line
from lemore_ros.bags.errors import ReadErrors

Key = tuple[str, str]  # a topic's name and type


class Found(NamedTuple):
    """A message: the number of its connection, its receive time, and its bytes as the file has them."""

    connection: int
    time_ns: int
    data: bytes


class DamagedFile(ABC):
    """The readable pieces of a file: its chunks, or its rows.

    What cannot be read is added to ``errors``. ``connections`` have the numbers of messages that
    were found, ``span`` the receive times of the first and the last one, (0, 0) for none.
    """

    def __init__(self, path: Path, file: Any, errors: ReadErrors) -> None:
        self._name = path.name
        self._file = file
        self._errors = errors
        self._known: dict[int, Connection] = {}
        self._pieces: list[tuple[int, int, int]] = []  # first time, place, last time
        counts, place = Counter[int](), 0
        try:
            for place, found in self._scan():
                counts.update(message.connection for message in found)
                times = [message.time_ns for message in found]
                if times:
                    self._pieces.append((min(times), place, max(times)))
        except Exception as error:  # noqa: BLE001 - damage shows in a dozen ways
            self._lose(f'nothing can be read after {place}', error)
        self._pieces.sort()
        self.connections = [c._replace(msgcount=counts[n]) for n, c in self._known.items()]
        ends = (end_ns for _, _, end_ns in self._pieces)
        self.span = (self._pieces[0][0] if self._pieces else 0, max(ends, default=0))

    def messages(
        self, keys: Collection[Key], start_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, receive time and bytes of topics, in the order of the receive times."""
        wanted = {n: c for n, c in self._known.items() if (c.topic, c.msgtype) in keys}
        first = 0 if start_ns is None else start_ns
        after = 2**64 if end_ns is None else end_ns
        for found in self._in_order(first, after):
            if found.connection in wanted and first <= found.time_ns < after:
                yield wanted[found.connection], found.time_ns, found.data

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @abstractmethod
    def _scan(self) -> Iterator[tuple[int, list[Found]]]:
        """Yield where each piece is and what it holds; learn the connections."""

    @abstractmethod
    def _read(self, place: int) -> list[Found]:
        """Return what a piece holds."""

    def _lose(self, what: str, error: Exception, messages: int = 0) -> None:
        self._errors.add(f'{self._name}: {what}: {in_one_line(error)}', messages)

    def _in_order(self, first: int, after: int) -> Iterator[Found]:
        waiting: list[tuple[int, int, Found]] = []
        number = count()
        for start_ns, place, end_ns in self._pieces:
            if end_ns < first or start_ns >= after:
                continue
            while waiting and waiting[0][0] < start_ns:
                yield heapq.heappop(waiting)[2]
            for found in self._read(place):
                heapq.heappush(waiting, (found.time_ns, next(number), found))
        while waiting:
            yield heapq.heappop(waiting)[2]


def read_qos(text: str) -> list[Qos]:
    """Return the profiles of a topic's publishers, none where they cannot be read."""
    try:
        return list(parse_qos(text))
    except Exception:  # noqa: BLE001 - a topic is read without them
        return []
