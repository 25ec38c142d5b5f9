"""What the reader asks of a kind of bag, and the choice among the kinds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.metadata import METADATA
from lemore_ros.bags.io.read_errors import ReadErrors
from lemore_ros.bags.io.topics import Topic

Message = tuple[Topic, int, bytes]
# the latter is what a recording is called until it ends
ROSBAG1_ENDINGS = ('.bag', '.bag.active')
ROSBAG2_SUFFIXES = ('.mcap', '.db3')
KINDS = 'a rosbag2 folder, a .mcap or .db3 file, or a ROS 1 .bag'


class Storage(Protocol):
    """An open bag of one kind.

    ``start_ns`` and ``end_ns`` are when the first and the last message were received, 0 where
    there are none. ``distribution`` is the ROS distribution that it was recorded with, if it says.
    """

    topics: tuple[Topic, ...]
    start_ns: int
    end_ns: int
    distribution: str
    errors: ReadErrors

    def messages(
        self, topics: Sequence[Topic], start_ns: int | None, end_ns: int | None
    ) -> Iterator[Message]:
        """Yield topic, receive time and CDR bytes, in the order of the receive times."""

    def close(self) -> None:
        """Close the files."""


def is_bag(path: Path) -> bool:
    """Say whether a path is a bag: a file by its name, a folder by its metadata."""
    return path.name.endswith((*ROSBAG1_ENDINGS, *ROSBAG2_SUFFIXES)) or (path / METADATA).is_file()


def open_storage(path: Path) -> Storage:
    """Open a bag, and one that is damaged as far as it can be read.

    Raises:
        BagError: there is nothing of that name, it is no bag, or nothing of it can be read.

    """
    if not path.exists():
        msg = f'there is no bag {path}'
        raise BagError(msg)
    if path.is_file() and path.name.endswith(ROSBAG1_ENDINGS):
        from lemore_ros.bags.io.rosbag1_storage import Rosbag1Storage

        return Rosbag1Storage(path)
    if path.is_dir() or path.suffix in ROSBAG2_SUFFIXES:
        from lemore_ros.bags.io.rosbag2_storage import Rosbag2Storage

        return Rosbag2Storage(path)
    msg = f'{path} is no bag: give {KINDS}'
    raise BagError(msg)
