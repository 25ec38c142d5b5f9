"""Readers of rosbags as long as they meet no damage, of which each shows in a dozen ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from lemore_core.errors import in_one_line
from lemore_ros.bags.errors import BagError

T = TypeVar('T')


class UntilDamage(Iterator[T]):
    """What a reader gives until it ends, or fails: ``is_damaged`` tells which of them it was."""

    def __init__(self, items: Iterable[T]) -> None:
        self.is_damaged = False
        self._items = iter(items)

    def __next__(self) -> T:
        """Return the next item."""
        try:
            return next(self._items)
        except StopIteration:
            raise
        except Exception as error:
            self.is_damaged = True
            raise StopIteration from error


def try_open(kind: type[T], path: Path) -> T | None:
    """Open a whole bag with a reader of rosbags; None for a damaged one.

    Raises:
        BagError: it may not be read.

    """
    try:
        reader: Any = kind(path)  # type: ignore[call-arg]
        reader.open()
    except PermissionError as error:
        msg = f'{path} cannot be read: {in_one_line(error)}'
        raise BagError(msg) from error
    except Exception:  # noqa: BLE001 - a damaged file shows in a dozen ways
        return None
    opened: T = reader
    return opened
