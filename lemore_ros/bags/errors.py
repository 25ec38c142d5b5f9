"""Errors of the bag tools, and the losses of damaged bags."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lemore_core.common.errors import LemoreError, first_few, printable

SHOWN = 3
# the first bytes of a bag's file
MAGIC = {'.mcap': b'\x89MCAP0\r\n', '.db3': b'SQLite format 3\0', '.bag': b'#ROSBAG V'}
INCOMPLETE = 3  # exit status


class BagError(LemoreError):
    """A bag that cannot be read or written, or that lacks a topic."""


class ReadErrors:
    """Unreadable places of a bag, and the number of messages known to be lost.

    A place found again by a later pass counts once.
    """

    def __init__(self, places: Mapping[str, int] = MappingProxyType({})) -> None:
        self.places = dict(places)

    def add(self, place: str, messages: int = 0) -> None:
        """Add a place and its problem; ``messages`` is 0 if their number is unknown."""
        place = printable(place)  # topic names are untrusted
        self.places[place] = max(messages, self.places.get(place, 0))

    @property
    def messages(self) -> int:
        """The number of messages known to be lost; there may be more."""
        return sum(self.places.values())

    def __str__(self) -> str:
        return '; '.join(first_few([*self.places], SHOWN))
