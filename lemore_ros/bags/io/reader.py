"""Opens bags of every kind: rosbag2 folders, lone files of theirs, and ROS 1 bags."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lemore_core.common.limits import MAX_PIXELS
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.bag import Bag
from lemore_ros.bags.io.metadata import METADATA
from lemore_ros.bags.io.rosbag2 import ROSBAG2_SUFFIXES, Rosbag2Bag

# the latter is what a recording is called until it ends
ROSBAG1_ENDINGS = ('.bag', '.bag.active')


def is_bag(path: Path) -> bool:
    """Say whether a path is a bag: a file by its name, a folder by its metadata."""
    return path.name.endswith((*ROSBAG1_ENDINGS, *ROSBAG2_SUFFIXES)) or (path / METADATA).is_file()


@contextmanager
def open_bag(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Bag]:
    """Open a rosbag2 folder, a lone ``.mcap`` or ``.db3`` file of one, or a ROS 1 ``.bag``.

    One that is damaged is opened as far as it can be read. Its images of more than ``max_pixels``
    are not decoded.

    Raises:
        BagError: there is nothing of that name, it is no bag, or nothing of it can be read.
    """
    if not path.exists():
        msg = f'there is no bag {path}'
        raise BagError(msg)
    if path.is_file() and path.name.endswith(ROSBAG1_ENDINGS):
        from lemore_ros.bags.io.rosbag1 import Rosbag1Bag

        kind: type[Bag] = Rosbag1Bag
    elif path.is_dir() or path.suffix in ROSBAG2_SUFFIXES:
        kind = Rosbag2Bag
    else:
        msg = f'{path} is no bag: give a rosbag2 folder, a .mcap or .db3 file, or a ROS 1 .bag'
        raise BagError(msg)
    with closing(kind(path, max_pixels)) as bag:
        yield bag
