"""Read images from image files, folders, videos, cameras, and inputs that other packages read."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar, NamedTuple

import cv2
import numpy as np

from lemore_core.common.errors import LemoreError
from lemore_core.common.limits import MAX_PIXELS
from lemore_core.data.drives import drive_names
from lemore_core.images.files import SUFFIXES, ImageFileError, image_files, read_image
from lemore_core.images.image import Image
from lemore_core.taxonomy import Labels, Taxonomy

READERS = 'lemore.images'  # entry points of other packages, each a Reader
MOST_DIGITS = 4  # of a camera's number
BAGS = "bags are read with: pip install 'lemore_ros[bag]'"


class SourceError(LemoreError):
    """An input without images."""


class Frame(NamedTuple):
    """An image of a source.

    ``name`` is its path in a folder, else its number. ``stamp_ns`` is its time in nanoseconds, of a
    video since the beginning. ``path`` is its image file, ``labels`` (H, W) those recorded with it.
    """

    drive: str
    name: str
    image: Image
    stamp_ns: int | None = None
    path: Path | None = None
    labels: Labels | None = None


@dataclass
class Source(ABC):
    """Images of one drive, in their order.

    ``paths`` are the files that hold them, ``expected`` is their number where it is known,
    ``taxonomy`` belongs to labels recorded with them. ``errors`` counts what could not be read.
    ``is_moving`` images are many a second; ``is_recording`` ones were recorded on a robot.
    """

    is_moving: ClassVar[bool] = True
    is_recording: ClassVar[bool] = False

    name: str
    drive: str
    paths: tuple[Path, ...] = ()
    expected: int | None = None
    max_pixels: int = MAX_PIXELS
    taxonomy: Taxonomy | None = None
    errors: Counter[str] = field(default_factory=Counter)

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """Yield the images; unreadable ones are left out and counted in ``errors``.

        Raises:
            LemoreError: the source cannot be opened.
        """


@dataclass
class ImageFiles(Source):
    """Image files, each called by one of ``names``."""

    is_moving: ClassVar[bool] = False
    names: tuple[str, ...] = ()

    def frames(self) -> Iterator[Frame]:
        """Yield the images."""
        for name, path in zip(self.names, self.paths, strict=True):
            try:
                pixels = read_image(path, max_pixels=self.max_pixels)
            except ImageFileError as error:  # noqa: PERF203 - one costs the others nothing
                self.errors[str(error)] += 1
            else:
                yield Frame(self.drive, name, Image(pixels), path=path)


class Video(Source):
    """A video file; a damaged one is read up to the damage."""

    def frames(self) -> Iterator[Frame]:
        """Yield the images, numbered from 0."""
        from lemore_core.images.video import VideoError, read_video

        try:
            for number, (ns, pixels) in enumerate(read_video(self.paths[0], self.max_pixels)):
                yield Frame(self.drive, f'{number:06}', Image(pixels), ns)
        except VideoError as error:
            self.errors[str(error)] += 1


@dataclass
class Camera(Source):
    """A camera of this machine; it has no end."""

    index: int = 0

    def frames(self) -> Iterator[Frame]:
        """Yield the images, numbered from 0."""
        capture = cv2.VideoCapture(self.index)
        number = 0
        try:
            while (read := capture.read())[0]:
                image = Image(np.asarray(read[1], np.uint8), 'bgr8')
                yield Frame(self.drive, f'{number:06}', image, time.monotonic_ns())
                number += 1
        finally:
            capture.release()
        self.errors['it cannot be opened, or was unplugged'] += 1


# path, most pixels of an image, whether recorded labels are wanted; no sources: not its file
Reader = Callable[[Path, int, bool], Sequence[Source]]


def open_sources(
    inputs: Sequence[str | Path], max_pixels: int = MAX_PIXELS, *, with_labels: bool = False
) -> list[Source]:
    """Open image files, folders with all below, videos, bags, and cameras by number.

    Images of a folder are one source for each drive, see :func:`lemore_core.data.drives.drives`;
    where the drive would be one word for all, such as ``frame``, it is the folder. A bag has one
    source for each camera; ``with_labels`` opens the labels that were recorded in it.

    Raises:
        LemoreError: an input does not exist, or has no images.
    """
    sources: list[Source] = []
    for text in map(str, inputs):
        path = Path(text)
        if path.exists():
            sources += _open(path, max_pixels, with_labels)
        elif text.isdecimal() and len(text) <= MOST_DIGITS:
            sources.append(Camera(f'camera{text}', f'camera{text}', index=int(text)))
        else:
            msg = f'there is no file or folder {text}, and it is no number of a camera'
            raise SourceError(msg)
    return sources


def error_lines(sources: Sequence[Source]) -> list[str]:
    """Return a line for each thing that could not be read."""
    return [
        f'{source.name}: {error}' + (f' ({times} times)' if times > 1 else '')
        for source in sources
        for error, times in source.errors.items()
    ]


def drive_name(name: str) -> str:
    """Return a name as the beginning of file names, without the underscore that would end it."""
    return re.sub(r'[^\w-]|_', '-', name).strip('-') or 'drive'


def _open(path: Path, max_pixels: int, with_labels: bool) -> Sequence[Source]:
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return _by_drive(path.parent, [path], max_pixels)
    for entry in entry_points(group=READERS):
        try:
            read: Reader = entry.load()
        except ModuleNotFoundError:
            continue  # what it reads with is an extra
        if found := read(path, max_pixels, with_labels):
            return found
    if path.is_dir():
        images = image_files(path)
        if not images:
            msg = f'folder {path} holds no images ({", ".join(SUFFIXES)}) and is no bag; {BAGS}'
            raise SourceError(msg)
        return _by_drive(path, images, max_pixels)
    from lemore_core.images.video import VideoError, frames_expected

    try:
        expected = frames_expected(path) or None
    except VideoError as error:
        msg = f'{error}; images end in {", ".join(SUFFIXES)}; {BAGS}'
        raise SourceError(msg) from error
    return [Video(path.stem, drive_name(path.stem), (path,), expected, max_pixels)]


def _by_drive(folder: Path, images: Sequence[Path], max_pixels: int) -> list[Source]:
    drives = drive_names(images, folder)
    if len(set(drives)) == 1 and not any(map(str.isdigit, drives[0])):
        drives = [folder.resolve().name] * len(images)
    by_drive: dict[str, list[Path]] = {}
    for drive, image in zip(drives, images, strict=True):
        by_drive.setdefault(drive_name(drive), []).append(image)
    return [
        ImageFiles(
            drive,
            drive,
            tuple(paths),
            len(paths),
            max_pixels,
            names=tuple(one.relative_to(folder).with_suffix('').as_posix() for one in paths),
        )
        for drive, paths in by_drive.items()
    ]
