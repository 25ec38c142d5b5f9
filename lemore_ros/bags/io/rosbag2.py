"""ROS 2 bags: the files of a folder, or a lone one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from lemore_core.common.errors import in_one_line
from lemore_core.common.validation import entries, from_mapping, option
from lemore_core.common.yaml_file import read_yaml
from lemore_ros.bags.errors import BagError, ReadErrors
from lemore_ros.bags.io.bag import Bag
from lemore_ros.bags.io.bag_file import BagFile, Damaged, try_open
from lemore_ros.bags.io.bounded import bound_rosbags, decompress
from lemore_ros.bags.io.message_types import MessageTypes
from lemore_ros.bags.io.metadata import INFORMATION, METADATA
from lemore_ros.bags.io.topics import Topic, topics_of

ROSBAG2_SUFFIXES = ('.mcap', '.db3')
# no CDR begins so; a file whose messages are compressed says so in the metadata beside it only,
# which may be damaged or missing
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


class Rosbag2Bag(Bag):
    """A rosbag2 folder, or a lone file of one.

    Raises:
        BagError: nothing of it can be read.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        super().__init__(path, max_pixels)
        self._files: list[BagFile] = []
        self._opened = ExitStack()
        try:
            connections = self._open(path)
            if not connections and self.errors.places:
                msg = f'nothing of {path} can be read: {self.errors}'
                raise BagError(msg)  # noqa: TRY301 - the files are closed in one place
        except BaseException:
            self.close()
            raise
        spans = [file.span for file in self._files if file.span != (0, 0)]
        self.start_ns = min((first for first, _ in spans), default=0)
        self.end_ns = max((last for _, last in spans), default=0)
        self.topics = topics_of(connections)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()
        self._opened.close()

    def _read(
        self, topics: dict[tuple[str, str], Topic], start_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[Topic, int, bytes]]:
        for file in self._files:
            for connection, time_ns, data in file.messages(topics, start_ns, end_ns):
                cdr = data
                if data[:4] == ZSTD_MAGIC:
                    try:
                        cdr = decompress('zstd', data)
                    except Exception as error:  # noqa: BLE001 - damage shows in several ways
                        place = f'{connection.topic} at {time_ns} ns'
                        self.errors.add(f'{place}: {in_one_line(error)}', 1)
                        continue
                yield topics[connection.topic, connection.msgtype], time_ns, cdr

    def _open(self, path: Path) -> list[Connection]:
        bound_rosbags()
        about = _metadata(path, self.errors) if path.is_dir() else _About()
        self.types = MessageTypes(about.ros_distro)
        # rosbags reads the metadata again, and without any limit
        folder = self._reader(path) if path.is_dir() and not self.errors.places else None
        if folder is not None:
            for reader in folder.storage.storages:
                self._add(reader.path, reader)
            return list(folder.connections)
        for file in _named_files(path, about, self.errors):
            opened = self._reader(file)
            self._add(file, opened and opened.storage)
        connections = [c for file in self._files for c in file.connections]
        expected, found = about.message_count, sum(c.msgcount for c in connections)
        if expected > found + self.errors.messages:
            missing = expected - found - self.errors.messages
            what = f'{missing} of the {expected} messages that {METADATA} counts'
            self.errors.add(what, missing)
        return connections

    def _reader(self, path: Path) -> Any:
        reader = try_open(Reader, path)
        if reader is not None:
            self._opened.callback(reader.close)
        return reader

    def _add(self, path: Path, reader: Any) -> None:
        if hasattr(reader, 'chunks') and not reader.chunks and reader.metadata.message_count:
            # without an index, rosbags wants messages in the order of their times
            reader = None
        self._files.append(BagFile(path, reader, _damaged(path), self.errors))


def _damaged(path: Path) -> Damaged:
    # both import what whole bags do without
    if path.suffix == '.mcap':
        from lemore_ros.bags.recovery.mcap_file import McapFile

        return McapFile
    from lemore_ros.bags.recovery.sqlite_file import SqliteFile

    return SqliteFile


@dataclass(frozen=True)
class _About:
    """What is needed of ``metadata.yaml``."""

    message_count: int = option(0, low=0)
    relative_file_paths: tuple[str, ...] = option(())
    ros_distro: str = ''
    compression_mode: str = ''


def _metadata(folder: Path, errors: ReadErrors) -> _About:
    path = folder / METADATA
    if not path.exists():
        errors.add(f'{METADATA} is missing')
        return _About()
    try:
        values = read_yaml(path, 'the metadata', BagError)
        known = values[INFORMATION] if isinstance(values, dict) and INFORMATION in values else None
        if isinstance(known, dict):
            # it says more than that, and leaves empty what a bag has not
            names = entries(_About).keys()
            known = {n: v for n, v in known.items() if n in names and v is not None}
        return from_mapping(_About, known, INFORMATION, BagError)
    except BagError as error:
        errors.add(f'{METADATA} is damaged: {in_one_line(error)}')
        return _About()


def _named_files(path: Path, about: _About, errors: ReadErrors) -> list[Path]:
    if path.is_file():
        return [path]
    mode = about.compression_mode.lower() or 'none'
    if mode not in {'none', 'message'} or any(path.glob('*.zstd')):
        msg = (
            f'{path} is damaged, and compressed by rosbag2 (by {mode}): what is left of it '
            'cannot be read so; uncompress its files with zstd -d and give them one by one'
        )
        raise BagError(msg)
    named = [path / Path(name).name for name in about.relative_file_paths]
    for missing in (file for file in named if not file.is_file()):
        errors.add(f'{missing.name} is missing')
    found = named or sorted(path.iterdir(), key=_in_sequence)
    files = [file for file in found if file.suffix in ROSBAG2_SUFFIXES and file.is_file()]
    if not files:
        errors.add(f'it holds no {" or ".join(ROSBAG2_SUFFIXES)} file')
    return files


def _in_sequence(file: Path) -> tuple[int, str]:
    # recordings are split into NAME_0, NAME_1, … NAME_10
    number = file.stem.rpartition('_')[2]
    return int(number) if number.isdecimal() else 0, file.name
