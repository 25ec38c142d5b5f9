"""Errors of the bag tools, and the losses of damaged bags."""

from __future__ import annotations

from collections.abc import Iterable

from lemore_core.common.errors import LemoreError, printable

SHOWN = 3


class BagError(LemoreError):
    """A bag that cannot be read or written, or that lacks a topic."""


class ReadErrors:
    """Unreadable places of a bag, and the number of messages known to be lost.

    A place found again by a later pass counts once.
    """

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def add(self, place: str, messages: int = 0) -> None:
        """Add a place and its problem; ``messages`` is 0 if their number is unknown."""
        place = printable(place)  # topic names are untrusted
        self.places[place] = max(messages, self.places.get(place, 0))

    @property
    def messages(self) -> int:
        """The number of messages known to be lost; there may be more."""
        return sum(self.places.values())

    def __str__(self) -> str:
        return describe(self.places)


def describe(places: Iterable[str]) -> str:
    """Return the first places in one line, empty for none."""
    found = list(places)
    more = f'; and {len(found) - SHOWN} more' if len(found) > SHOWN else ''
    return '; '.join(found[:SHOWN]) + more
