"""Files of a bag and their metadata, read with rosbags up to a damage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader as Rosbag1Reader
from rosbags.rosbag2 import Reader as Rosbag2Reader

from lemore_core.common.errors import in_one_line
from lemore_core.common.yaml_file import read_yaml
from lemore_ros.bags.compression import decompress_file
from lemore_ros.bags.errors import BagError, ReadErrors

if TYPE_CHECKING:
    from lemore_ros.bags.damaged import DamagedFile

METADATA, INFORMATION = 'metadata.yaml', 'rosbag2_bagfile_information'
ROSBAG2_SUFFIXES = ('.mcap', '.db3')


class Metadata(NamedTuple):
    """The fields of ``metadata.yaml`` that are used."""

    message_count: int = 0
    names: tuple[str, ...] = ()
    ros_distro: str = ''


def read_metadata(folder: Path, errors: ReadErrors) -> Metadata:
    """Read ``metadata.yaml``; return the defaults and add an error if it cannot be read."""
    path = folder / METADATA
    if not path.exists():
        errors.add(f'{METADATA} is missing')
        return Metadata()
    try:
        known = read_yaml(path, 'the metadata', BagError)[INFORMATION]
        names = tuple(Path(name).name for name in known.get('relative_file_paths') or ())
        return Metadata(int(known.get('message_count') or 0), names, str(known.get('ros_distro')))
    except Exception as error:  # noqa: BLE001 - values of other types raise many types
        reason = str(error) if isinstance(error, BagError) else f'no valid {INFORMATION}'
        errors.add(f'{METADATA} is damaged: {reason}')
        return Metadata()


def find_files(path: Path, metadata: Metadata, errors: ReadErrors) -> list[Path]:
    """Return the files that the metadata name, or else all files in the folder."""
    if path.is_file():
        return [path]
    endings = tuple(f'{suffix}{zipped}' for suffix in ROSBAG2_SUFFIXES for zipped in ('', '.zstd'))
    there = {f.name: f for f in path.iterdir() if f.name.endswith(endings) and f.is_file()}
    for missing in (name for name in metadata.names if name not in there):
        errors.add(f'{missing} is missing')
    named = [there[name] for name in metadata.names if name in there]
    if not there:
        errors.add(f'it holds no {" or ".join(ROSBAG2_SUFFIXES)} file')
    return named or sorted(there.values(), key=_by_number)


class BagFile:
    """A file read by rosbags and, from a damage on, by :mod:`~lemore_ros.bags.damaged`.

    ``span`` holds the first and last receive time, (0, 0) without messages.
    """

    def __init__(self, path: Path, errors: ReadErrors) -> None:
        self._errors = errors
        self._stack = ExitStack()
        self._path = self._decompress(path) if path.suffix == '.zstd' else path
        self._damaged: DamagedFile | None = None
        self._reader = self._open()
        if self._reader is None:
            self.connections, self.span = self._rest().connections, self._rest().span
        else:
            self.connections = list(self._reader.connections)
            times = self._reader.start_time, self._reader.end_time - 1
            self.span = times if self._reader.message_count else (0, 0)

    def messages(
        self, keys: Collection[tuple[str, str]], start_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, receive time and bytes of the topics, ordered by receive time.

        After a damage, the second reader starts at the last time of the first; duplicates are
        skipped by time, topic and content.
        """
        last, read = start_ns, Counter[tuple[str, str, bytes]]()
        if self._reader is not None:
            found = [c for c in self.connections if (c.topic, c.msgtype) in keys]
            if not found:
                return
            try:
                for connection, time_ns, data in self._reader.messages(found, start_ns, end_ns):
                    if time_ns != last:
                        last, read = time_ns, Counter()
                    read[connection.topic, connection.msgtype, data] += 1
                    yield connection, time_ns, data
            except Exception as error:  # noqa: BLE001 - damage raises many types
                self._add_damage(last, error)
            else:
                return
        for connection, time_ns, data in self._rest().messages(keys, last, end_ns):
            key = connection.topic, connection.msgtype, data
            if time_ns == last and read[key]:
                read[key] -= 1
            else:
                yield connection, time_ns, data

    def close(self) -> None:
        """Close the readers."""
        self._stack.close()

    def _decompress(self, packed: Path) -> Path:
        path = Path(self._stack.enter_context(TemporaryDirectory()), packed.stem)
        try:
            decompress_file(packed, path)
        except ValueError as error:
            self._errors.add(f'{packed.name} is damaged: {error}')
        return path

    def _open(self) -> Any:
        """Open the file with rosbags; return None if it cannot read it."""
        if Path(f'{self._path}-wal').exists():
            return None  # rosbags does not read write-ahead logs
        kind = Rosbag2Reader if self._path.suffix in ROSBAG2_SUFFIXES else Rosbag1Reader
        try:
            reader = kind(self._path)
            reader.open()
        except PermissionError as error:
            msg = f'{self._path} cannot be read: {in_one_line(error)}'
            raise BagError(msg) from error
        except Exception:  # noqa: BLE001 - damage raises many types
            return None
        self._stack.callback(reader.close)
        # mcap files without an index are read only if they are sorted by time
        is_indexed = getattr(getattr(reader, 'storage', None), 'chunks', True)
        return reader if is_indexed or not reader.message_count else None

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
            # imported late: whole bags do not need the package mcap
            from lemore_ros.bags import damaged

            kinds = {'.mcap': damaged.McapFile, '.db3': damaged.SqliteFile}
            kind = kinds.get(self._path.suffix, damaged.Rosbag1File)
            self._damaged = kind(self._path, self._errors)
            self._stack.callback(self._damaged.close)
        return self._damaged


def _by_number(file: Path) -> tuple[int, str]:
    # recordings are split into NAME_0, NAME_1, … NAME_10
    number = file.name.partition('.')[0].rpartition('_')[2]
    return int(number) if number.isdecimal() else 0, file.name
