"""The root of the errors of the bag tools, and what of a bag could not be read."""

from __future__ import annotations

from lemore_core.common.errors import LemoreError, printable

SHOWN = 3


class BagError(LemoreError):
    """A bag that cannot be read or written, or that does not hold what was asked for."""


class ReadErrors:
    """Each place of a bag that cannot be read, once, and how many messages are known to be lost.

    A place that is met again, by another pass over the bag, counts once.
    """

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def add(self, place: str, messages: int = 0) -> None:
        """Add a place and what is wrong there; ``messages`` is 0 where their number is unknown."""
        place = printable(place)  # names of topics are the bag's
        self.places[place] = max(messages, self.places.get(place, 0))

    @property
    def messages(self) -> int:
        """How many messages are known to be lost; there may be more that left no trace."""
        return sum(self.places.values())

    def __str__(self) -> str:
        return describe(list(self.places))


def describe(places: list[str]) -> str:
    """Return a sentence of a few of the places, empty for none."""
    more = f'; and {len(places) - SHOWN} more' if len(places) > SHOWN else ''
    return '; '.join(places[:SHOWN]) + more
