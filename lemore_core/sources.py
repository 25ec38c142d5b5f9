"""Read images from image files, folders, videos, cameras, and inputs that other packages read."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from importlib.metadata import entry_points
from itertools import count
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError, counted, in_one_line
from lemore_core.common.limits import ARCHIVES, MAX_PIXELS
from lemore_core.data.drives import drive_names
from lemore_core.images.files import (
    SUFFIXES,
    ImageFileError,
    image_files,
    later_images,
    read_image,
)
from lemore_core.images.image import Image
from lemore_core.taxonomy import Labels, Taxonomy

READERS = 'lemore.images'  # entry points of other packages, each a Reader
MOST_DIGITS = 4  # of a camera's number
# photos of which FFmpeg takes a tile, or the raw mosaic, for the image
MISTAKEN = {'.heic', '.heif', '.dng', '.cr2', '.nef', '.arw'}
ReadImage = Callable[[Path], NDArray[np.uint8]]
BAGS = "bags are read with: pip install 'lemore_ros[bag]'"


class SourceError(LemoreError):
    """An input without images."""


class Frame(NamedTuple):
    """An image of a source.

    ``drive`` is that of its source, and the camera in a bag with several: ``DRIVE_CAMERA``. ``name``
    is its path in a folder, else its number. ``stamp_ns`` is its time in nanoseconds, of a video
    since the beginning. ``path`` is its image file, ``labels`` (H, W) those recorded with it.
    """

    drive: str
    name: str
    image: Image
    stamp_ns: int | None = None
    path: Path | None = None
    labels: Labels | None = None


@dataclass
class Source:
    """Images of one drive, in their order.

    ``read`` yields them and counts in ``errors`` what could not be read. ``paths`` are their files,
    ``expected`` is their number if known, ``results`` name what is made of them: one for each image
    file, or one for a video. ``is_moving`` images are many a second, ``is_recording`` ones are of a
    robot; ``taxonomy`` belongs to labels that were recorded with them.
    """

    name: str
    drive: str
    read: Callable[[Counter[str]], Iterator[Frame]]
    paths: tuple[Path, ...] = ()
    expected: int | None = None
    _: KW_ONLY
    results: tuple[str, ...]
    is_moving: bool = True
    is_recording: bool = False
    taxonomy: Taxonomy | None = None
    errors: Counter[str] = field(default_factory=Counter)

    def frames(self) -> Iterator[Frame]:
        """Yield the images; unreadable ones are left out and counted in ``errors``."""
        return self.read(self.errors)


# path, most pixels of an image, bits of 16-bit images, whether recorded labels are wanted; no
# sources: not its file
Reader = Callable[[Path, int, int, bool], Sequence[Source]]


def open_sources(
    inputs: Sequence[str | Path],
    max_pixels: int = MAX_PIXELS,
    bits: int = 0,
    *,
    with_labels: bool = False,
) -> list[Source]:
    """Open image files, folders with all below, videos, bags, and cameras by number.

    Images of a folder are one source for each drive, see
    :func:`lemore_core.data.drives.drive_names`. A bag has one source for each camera;
    ``with_labels`` opens the labels that were recorded in it. ``bits`` is the depth of
    16-bit images, 0 to find it.

    Of several inputs, one that cannot be opened is a source without images and with the error.

    Raises:
        LemoreError: no input exists, or has images.
    """
    sources: list[Source] = []
    failed: list[Exception] = []
    for text in map(str, inputs):
        try:
            sources += _open(text, max_pixels, bits, with_labels)
        except (LemoreError, OSError) as error:  # noqa: PERF203 - one costs the others nothing
            failed.append(error)
            nothing = Source(text, text, lambda _: iter(()), results=())
            sources.append(nothing)
            nothing.errors[in_one_line(error)] += 1
    if failed and len(failed) == len(inputs):
        raise failed[0]
    counts = Counter(one.name for one in sources)
    for one in sources:
        # of one name, from several folders
        if counts[one.name] > 1 and one.is_moving and one.paths:
            one.name = f'{one.paths[0].resolve().parent.name}_{one.name}'
            one.results = (one.name,)
    return sources


def error_lines(sources: Sequence[Source]) -> list[str]:
    """Return a line for each thing that could not be read."""
    found = [(one.name, error, times) for one in sources for error, times in one.errors.items()]
    return [f'{name}: {error}' + f' ({times} times)' * (times > 1) for name, error, times in found]


def drive_name(name: str) -> str:
    """Return a name as the beginning of file names, without the underscore that would end it."""
    return re.sub(r'[^\w-]|_', '-', name).strip('-') or 'drive'


def _open(text: str, max_pixels: int, bits: int, with_labels: bool) -> Sequence[Source]:
    path = Path(text)
    _refuse_by_name(path)
    if not path.exists():
        if text.isdecimal() and len(text) <= MOST_DIGITS:
            return [_camera(int(text))]
        msg = f'there is no file or folder {text}, and it is no number of a camera'
        raise SourceError(msg)
    read = partial(read_image, max_pixels=max_pixels, bits=bits)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return _by_drive(path.parent, [path], read)
    for entry in entry_points(group=READERS):
        try:
            reader: Reader = entry.load()
        except ModuleNotFoundError:
            continue  # what it reads with is an extra
        if found := reader(path, max_pixels, bits, with_labels):
            return found
    if path.is_dir():
        images, left_out = image_files(path)
        if not images:
            reasons = '; '.join(['', *left_out])
            msg = f'folder {path} holds no images ({", ".join(SUFFIXES)}) and is no bag; {BAGS}'
            raise SourceError(msg + reasons)
        sources = _by_drive(path, images, read)
        sources[0].errors.update(left_out)
        return sources
    return [_video(path, max_pixels, bits)]


def _refuse_by_name(path: Path) -> None:
    if camera := re.fullmatch(r'/dev/video(\d+)', str(path)):
        msg = f'{path} is a camera: give its number {camera[1]}'
        raise SourceError(msg)
    suffix = path.suffix.lower() if path.is_file() else ''
    if suffix in ARCHIVES:
        msg = f'{path} is an archive: unpack it, and give what it holds'
        raise SourceError(msg)
    if suffix in MISTAKEN:
        msg = f'{path} is not read: convert it to .png or .jpg'
        raise SourceError(msg)


def _video(path: Path, max_pixels: int, bits: int) -> Source:
    from lemore_core.images.video import VideoError, frames_expected, read_video

    drive = drive_name(path.stem)
    try:
        expected = frames_expected(path) or None
    except VideoError as error:
        msg = f'{error}; images end in {", ".join(SUFFIXES)}; {BAGS}'
        raise SourceError(msg) from error

    def read(errors: Counter[str]) -> Iterator[Frame]:
        try:
            for number, (ns, pixels) in enumerate(read_video(path, max_pixels, bits)):
                yield Frame(drive, f'{number:06}', Image(pixels), ns)
        except VideoError as error:
            errors[str(error)] += 1

    return Source(path.stem, drive, read, (path,), expected, results=(path.stem,))


def _camera(index: int) -> Source:
    name = f'camera{index}'

    def read(errors: Counter[str]) -> Iterator[Frame]:
        capture, numbers = cv2.VideoCapture(index), count()
        try:
            while (found := capture.read())[0]:
                image = Image(np.asarray(found[1], np.uint8), 'bgr8')
                yield Frame(name, f'{next(numbers):06}', image, time.monotonic_ns())
        finally:
            capture.release()
        errors['it cannot be opened, or was unplugged'] += 1

    return Source(name, name, read, results=(name,))


def _by_drive(folder: Path, images: Sequence[Path], read: ReadImage) -> list[Source]:
    by_drive: dict[str, list[Path]] = {}
    for name, image in zip(drive_names(images), images, strict=True):
        by_drive.setdefault(drive_name(name), []).append(image)
    if len(by_drive) == 1 and not any(map(str.isdigit, next(iter(by_drive)))):
        by_drive = {drive_name(folder.resolve().name): list(images)}
    return [_files(drive, folder, tuple(paths), read) for drive, paths in by_drive.items()]


def _files(drive: str, folder: Path, paths: tuple[Path, ...], read_one: ReadImage) -> Source:
    within = [path.relative_to(folder) for path in paths]
    stems = Counter(path.with_suffix('') for path in within)
    # 1.jpg and 1.png keep their suffixes
    names = tuple(
        (path if stems[path.with_suffix('')] > 1 else path.with_suffix('')).as_posix()
        for path in within
    )

    def read(errors: Counter[str]) -> Iterator[Frame]:
        for name, path in zip(names, paths, strict=True):
            try:
                pixels = read_one(path)
            except ImageFileError as error:  # noqa: PERF203 - one costs the others nothing
                errors[str(error)] += 1
            else:
                yield Frame(drive, name, Image(pixels), path=path)
                if number := later_images(path):
                    errors[f'{path}: {counted(number, "image")} after its first not read'] += 1

    return Source(drive, drive, read, paths, len(paths), results=names, is_moving=False)
