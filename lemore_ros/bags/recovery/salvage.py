"""Reads what can be read of a damaged ROS 2 bag, one file after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import yaml
from rosbags.interfaces import Connection

from lemore_core.errors import in_one_line
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.losses import ReadErrors
from lemore_ros.bags.io.metadata import INFORMATION, METADATA

Key = tuple[str, str]  # a topic's name and type
Read = tuple[Connection, int, bytes]


class File(Protocol):
    """A damaged file of a bag, opened; its losses are told to whoever opened it."""

    connections: list[Connection]
    span: tuple[int, int]

    def messages(
        self, keys: Collection[Key], start_ns: int | None, end_ns: int | None
    ) -> Iterator[Read]:
        """Yield connection, receive time and CDR bytes, in the order of the receive times."""

    def close(self) -> None:
        """Close it."""


class Salvage:
    """The readable files of a bag.

    Raises:
        BagError: there are none, or they cannot be read this way.

    """

    def __init__(self, path: Path, losses: ReadErrors) -> None:
        about = _metadata(path, losses) if path.is_dir() else {}
        self.distribution = str(about.get('ros_distro') or '')
        _refuse_compressed_files(path, about)
        self._files: list[File] = []
        for file in _storage_files(path, about, losses):
            self._files += _opened(file, losses)
        if not self._files:
            msg = f'nothing of {path} can be read: {losses or "it holds no .mcap or .db3 file"}'
            raise BagError(msg)
        self.connections = [c for file in self._files for c in file.connections]
        spans = [file.span for file in self._files if file.span != (0, 0)]
        self.span = min(s for s, _ in spans) if spans else 0, max((e for _, e in spans), default=0)
        self._count_missing(about, losses)

    def messages(
        self, keys: Collection[Key], start_ns: int | None, end_ns: int | None
    ) -> Iterator[Read]:
        """Yield connection, receive time and CDR bytes, in the order of the receive times."""
        for file in self._files:
            yield from file.messages(keys, start_ns, end_ns)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def _count_missing(self, about: Mapping[str, Any], losses: ReadErrors) -> None:
        expected = about.get('message_count')
        found = sum(c.msgcount for c in self.connections)
        if isinstance(expected, int) and expected > found + losses.messages:
            missing = expected - found - losses.messages
            losses.add(f'{missing} of the {expected} messages that {METADATA} counts', missing)


def _opened(file: Path, losses: ReadErrors) -> list[File]:
    try:
        return [_kinds()[file.suffix](file, losses)]
    except (BagError, OSError) as error:
        losses.add(f'{file.name}: {in_one_line(error)}')
        return []


def _kinds() -> Mapping[str, Callable[[Path, ReadErrors], File]]:
    from lemore_ros.bags.recovery.mcap_salvage import McapSalvage
    from lemore_ros.bags.recovery.sqlite_salvage import SqliteSalvage

    return {'.mcap': McapSalvage, '.db3': SqliteSalvage}


def _metadata(folder: Path, losses: ReadErrors) -> Mapping[str, Any]:
    path = folder / METADATA
    try:
        about = yaml.safe_load(path.read_text(encoding='utf-8'))[INFORMATION]
        return dict(about)
    except OSError:
        losses.add(f'{METADATA} is missing')
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        losses.add(f'{METADATA} is damaged: {in_one_line(error)}')
    return {}


def _refuse_compressed_files(path: Path, about: Mapping[str, Any]) -> None:
    mode = str(about.get('compression_mode') or 'none').lower()
    if mode not in {'none', 'message'} or (path.is_dir() and any(path.glob('*.zstd'))):
        msg = (
            f'{path} is damaged, and compressed by rosbag2 (by {mode}): what is left of it cannot '
            'be read so; uncompress its files with zstd -d and give them one by one'
        )
        raise BagError(msg)


def _storage_files(path: Path, about: Mapping[str, Any], losses: ReadErrors) -> list[Path]:
    if path.is_file():
        return [path]
    named = [path / Path(name).name for name in about.get('relative_file_paths') or ()]
    for missing in (file for file in named if not file.is_file()):
        losses.add(f'{missing.name} is missing')
    found = named or sorted(path.iterdir(), key=_in_sequence)
    return [file for file in found if file.suffix in _kinds() and file.is_file()]


def _in_sequence(file: Path) -> tuple[int, str]:
    # recordings are split into NAME_0, NAME_1, … NAME_10
    number = file.stem.rpartition('_')[2]
    return int(number) if number.isdecimal() else 0, file.name
