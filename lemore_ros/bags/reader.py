"""Open bags of any kind as ROS 2 messages: rosbag2 folders, their single files, and ROS 1 bags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from lemore_core.common.errors import LemoreError, in_one_line
from lemore_core.common.files import open_regular
from lemore_core.common.limits import ARCHIVES, MAX_PIXELS
from lemore_core.common.yaml_file import read_yaml
from lemore_ros.bags.compression import decompress_file
from lemore_ros.bags.errors import MAGIC, BagError, ReadErrors
from lemore_ros.bags.types import CDR, MessageTypes, Topic, merge_topics

if TYPE_CHECKING:
    from lemore_core.images.image import Image
    from lemore_ros.bags.storage import Storage

METADATA, INFORMATION = 'metadata.yaml', 'rosbag2_bagfile_information'
ROSBAG2_ENDINGS = ('.mcap', '.db3')
PACKED = '.zstd'
ENDINGS = (*ROSBAG2_ENDINGS, *(ending + PACKED for ending in ROSBAG2_ENDINGS), '.bag')
ACTIVE = '.active'  # the end of a recording's name until it is finished
T = TypeVar('T')


@dataclass(frozen=True)
class Record:
    """A recorded message: topic, receive time in nanoseconds, and CDR bytes."""

    topic: Topic
    time_ns: int
    data: bytes = field(repr=False)
    _types: MessageTypes = field(repr=False, compare=False)

    @property
    def message(self) -> Any:
        """The deserialised message, made at each call; arrays are views into ``data``."""
        return self._types.deserialize(self.topic, self.data)


class Decoder:
    """Decode the images of one topic; video needs every message, in order."""

    def __init__(self, topic: Topic, max_pixels: int = MAX_PIXELS, bits: int = 0) -> None:
        from lemore_ros.messages.images import make_reader

        self._reader = make_reader(topic.type, topic.name)
        self._limits = max_pixels, bits

    def decode(self, record: Record) -> Image | LemoreError:
        """Return the image of a message, or the error."""
        return self._attempt(record, self._reader.read)

    def skip(self, record: Record) -> None:
        """Feed the decoder without returning the image; later frames may depend on it."""
        self._attempt(record, self._reader.skip)

    def _attempt(self, record: Record, read: Callable[[Any, int, int], T]) -> T | LemoreError:
        from lemore_ros.messages.images import ImageError

        try:
            return read(record.message, *self._limits)
        except (ImageError, BagError) as error:
            return error
        except (AttributeError, TypeError) as error:
            # fields are named and typed by the bag
            kind = record.topic.type
            return BagError(f'the definition of {kind} in the bag is not that of ROS: {error}')


class Metadata(NamedTuple):
    """The fields of ``metadata.yaml`` that are used."""

    message_count: int = 0
    names: tuple[str, ...] = ()
    ros_distro: str = ''


class Bag:
    """An open bag; made by :func:`open_bag`.

    ``topics`` are sorted by name; ``start_ns`` and ``end_ns`` are the first and last receive time,
    0 without messages. ``errors`` holds the losses so far. Use one iterator at a time.
    """

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS, bits: int = 0) -> None:
        self.path = path
        self._limits = max_pixels, bits
        self.errors = ReadErrors()
        metadata = _read_metadata(path, self.errors) if path.is_dir() else Metadata()
        self.types = MessageTypes(metadata.ros_distro)
        self._files: list[Storage] = []
        with ExitStack() as stack:
            files = _find_files(path, metadata, self.errors)
            opened = [
                (one, file) for file in files if (one := _open_file(file, self.errors, stack))
            ]
            for one, file in sorted(opened, key=lambda both: -both[0].count):
                if any(_is_copy(one, other) for other in self._files):
                    self.errors.add(f'{file.name} is left out, another file has all of it')
                else:
                    self._files.append(one)
            self._files.sort(key=lambda file: file.span[0])
            self.topics = merge_topics(t for file in self._files for t in file.topics.values())
            spans = [file.span for file in self._files if file.span != (0, 0)]
            self.start_ns = min((first for first, _ in spans), default=0)
            self.end_ns = max((last for _, last in spans), default=0)
            self._check(metadata.message_count)
            self.close = stack.pop_all().close

    def _check(self, expected: int) -> None:
        missing = expected - sum(topic.count for topic in self.topics) - self.errors.messages
        if missing > 0:
            self.errors.add(f'{missing} of the {expected} messages that {METADATA} counts', missing)
        if not self.topics and self.errors.places:
            msg = f'nothing of {self.path} can be read: {self.errors}'
            raise BagError(msg)

    @property
    def copied_topics(self) -> tuple[Topic, ...]:
        """The topics that rosbag2 can hold, sorted by name."""
        return tuple(topic for topic in self.topics if topic.encoding == CDR)

    @property
    def image_topics(self) -> tuple[Topic, ...]:
        """The image topics of any transport, sorted by name."""
        return tuple(topic for topic in self.topics if topic.is_image)

    def topic(self, name: str) -> Topic:
        """Return the topic called ``name``; of several types, that of images."""
        found = [topic for topic in self.topics if topic.name == name]
        if not found:
            names = ', '.join(topic.name for topic in self.topics) or 'none'
            msg = f'{self.path} has no topic {name}, there are: {names}'
            raise BagError(msg)
        return max(found, key=lambda topic: topic.is_image)

    def decoder(self, topic: Topic) -> Decoder:
        """Return a decoder of an image topic."""
        return Decoder(topic, *self._limits)

    def messages(
        self,
        topics: Collection[Topic] | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[Record]:
        """Yield the messages of ``topics`` (None: all) ordered by receive time.

        The times are from ``start_ns`` to before ``end_ns`` (None: no bound). Messages that cannot
        be read are left out and added to ``errors``.
        """
        wanted = {(t.name, t.type): t for t in self.topics if topics is None or t in topics}
        for file in self._files:
            for topic, time_ns, data in file.messages(wanted, start_ns, end_ns):
                yield Record(wanted[topic.name, topic.type], time_ns, data, self.types)

    def frames(
        self, topic: Topic, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[tuple[Record, Image | LemoreError]]:
        """Yield the messages of an image topic, each with its image or the error."""
        decoder = self.decoder(topic)
        for record in self.messages([topic], start_ns=start_ns, end_ns=end_ns):
            yield record, decoder.decode(record)


def is_bag(path: Path) -> bool:
    """Return whether a path is a bag: a file by its name or content, a folder by its metadata.

    A recording that broke off has none, but rosbag2 calls its first file by the folder.
    """
    first = f'{bag_name(path)}_0'
    names = (METADATA, *(first + ending + end for ending in ENDINGS for end in ('', ACTIVE)))
    return any((path / name).is_file() for name in names) or bool(_ending(path) or _kind(path))


def bag_name(path: Path) -> str:
    """Return the name of a bag: of a folder, also of this one (``.``), or of a file without ending."""
    path = path if path.name not in {'', '..'} else path.resolve()
    return path.name if path.is_dir() else path.stem


@contextmanager
def open_bag(path: Path, max_pixels: int = MAX_PIXELS, bits: int = 0) -> Iterator[Bag]:
    """Open a rosbag2 folder, one of its ``.mcap`` or ``.db3`` files, or a ROS 1 ``.bag``.

    A damaged bag is read up to the damage. Images of more than ``max_pixels`` are not decoded;
    ``bits`` is the depth of 16-bit ones, 0 to find it.

    Raises:
        BagError: there is no such file, it is no bag, or nothing of it can be read.
    """
    if not path.exists():
        msg = f'there is no bag {path}'
        raise BagError(msg)
    if not path.is_dir() and not is_bag(path):
        kinds = 'give a rosbag2 folder, a .mcap or .db3 file, or a ROS 1 .bag'
        is_archive = path.suffix.lower() in ARCHIVES
        remedy = 'unpack it, and give the bag that it holds' if is_archive else kinds
        msg = f'{path} is no bag: {remedy}'
        raise BagError(msg)
    with closing(Bag(path, max_pixels, bits)) as bag:
        yield bag


def _read_metadata(folder: Path, errors: ReadErrors) -> Metadata:
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


def _find_files(path: Path, metadata: Metadata, errors: ReadErrors) -> list[Path]:
    """Return the files that the metadata name; if one is missing, also others: it may be renamed."""
    if not path.is_dir():
        return [path]
    within = sorted(path.iterdir(), key=_number_of)
    there = {f.name: f for f in within if _ending(f) not in ('', '.bag') and f.is_file()}
    for name in [name for name in there if name + PACKED in there]:
        # what was unpacked, or not packed to the end, holds the same
        there.pop(name if name + PACKED in metadata.names else name + PACKED)
    missing = [name for name in metadata.names if name not in there]
    for name in missing:
        errors.add(f'{name} is missing')
    if metadata.names and not missing:
        for name in there.keys() - {*metadata.names}:
            errors.add(f'{name} is left out, {METADATA} does not name it: give it by name')
        return [there[name] for name in metadata.names]
    bags = [one for one in within if one not in there.values() and is_bag(one)]
    if not there:
        hint = f', but bags: give them by name, such as {min(bags)}' if bags else ''
        errors.add(f'it holds no {" or ".join(ROSBAG2_ENDINGS)} file{hint}')
    elif not metadata.names:
        for one in bags:
            errors.add(f'{one.name} is left out, it is a bag of its own: give it by name')
    return [*there.values()]


def _open_file(path: Path, errors: ReadErrors, stack: ExitStack) -> Storage | None:
    """Open a file, decompressed if it is packed; ``stack`` closes it. None if it has no content."""
    # imported late: help texts and single images do not need the package mcap
    from lemore_ros.bags.mcap_file import McapFile
    from lemore_ros.bags.storage import Rosbag1File, SqliteFile

    try:
        with open_regular(path) as file:
            reason = '' if file.read(1) else 'it is empty'
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        errors.add(f'{path.name}: {reason}')
        return None
    try:
        if path.suffix.lower() == PACKED:
            packed, path = path, Path(stack.enter_context(TemporaryDirectory()), path.stem)
            decompress_file(packed, path)
    except BagError as error:
        errors.add(f'{packed.name} is damaged: {error}')
    kinds: dict[str, type[Storage]] = {'.mcap': McapFile, '.db3': SqliteFile}
    try:
        storage = kinds.get(_kind(path) or _ending(path), Rosbag1File)(path, errors)
    except OSError as error:
        msg = f'{path} cannot be read: {in_one_line(error)}'
        raise BagError(msg) from error
    stack.callback(storage.close)
    return storage


def _is_copy(file: Storage, other: Storage) -> bool:
    """Return whether a file is a copy, as of mcap recover: files of a recording share no message."""
    if file.span[0] != other.span[0]:
        return False
    firsts, counts = [], []
    for one in (file, other):
        wanted = {(topic.name, topic.type) for topic in one.topics.values()}
        first = next(one.messages(wanted, None, None), None)
        firsts.append(first and (first[0].name, *first[1:]))
        counts.append(Counter({t.name: t.count for t in merge_topics(one.topics.values())}))
    return firsts[0] is not None and firsts[0] == firsts[1] and counts[0] <= counts[1]


def _ending(path: Path) -> str:
    """Return the ending of a bag's file by its name, or ''."""
    name = path.name.lower().removesuffix(ACTIVE)
    return next((ending for ending in ENDINGS if name.endswith(ending)), '')


def _kind(path: Path) -> str:
    """Return the ending of a bag's file by its content, or ''."""
    with suppress(OSError), open_regular(path) as file:
        head = file.read(16)
        return next((kind for kind, magic in MAGIC.items() if head.startswith(magic)), '')
    return ''


def _number_of(file: Path) -> tuple[int, str]:
    # recordings are split into NAME_0, NAME_1, … NAME_10
    number = file.name.partition('.')[0].rpartition('_')[2]
    return int(number) if number.isdecimal() else 0, file.name
