"""What a user gives: folders of images, image files, videos, and what other packages can read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lemore_core.data.drives import drive_names
from lemore_core.distill.errors import DistillError
from lemore_core.images.files import image_files
from lemore_core.images.video import frames_expected, read_video

# functions of other packages, such as the bags': each takes a path and returns its images, or
# None where the path is nothing of theirs
READERS = 'lemore.images'
VIDEOS = ('.mp4', '.mkv', '.avi', '.mov', '.webm', '.m4v', '.mpg', '.mpeg')

Frame = Path | NDArray[np.uint8]  # an image file, or RGB (H, W, 3) uint8


@dataclass(frozen=True)
class ImageSource:
    """Images of one drive, in their order.

    ``paths`` are the files that they come from, ``expected`` how many will come if that is known.
    ``is_moving`` images follow each other so fast that a few of them show all.
    """

    drive: str
    paths: tuple[Path, ...]
    frames: Callable[[], Iterator[Frame]]
    expected: int | None = None
    is_moving: bool = False


Reader = Callable[[Path], ImageSource | None]


def open_sources(inputs: Sequence[Path]) -> list[ImageSource]:
    """Return the images that the inputs hold, one source for each drive in each input.

    A bag or a video is a drive. In a folder (searched with all that is in it) a drive is what
    :func:`lemore_core.data.drives.drives` says; where that is one word for all, such as ``frame``,
    it is the folder.

    Raises:
        DistillError: an input does not exist, or holds nothing that can be read.
    """
    readers: list[Reader] = [entry.load() for entry in entry_points(group=READERS)]
    sources: list[ImageSource] = []
    for path in inputs:
        if not path.exists():
            msg = f'there is no file or folder {path}'
            raise DistillError(msg)
        read = (source for reader in readers if (source := reader(path)) is not None)
        found = next(read, None)
        sources += [found] if found else _of_images(path)
    if not sources:
        msg = 'there are no inputs: give bags, videos, images or folders of images'
        raise DistillError(msg)
    return sources


def drive_name(name: str) -> str:
    """Return a name as the beginning of file names: an underscore would end the drive's."""
    return re.sub(r'[^\w-]|_', '-', name).strip('-') or 'drive'


def _of_images(path: Path) -> list[ImageSource]:
    if path.suffix.lower() in VIDEOS:
        expected = frames_expected(path) or None
        frames = lambda: (pixels for _, pixels in read_video(path))  # noqa: E731
        return [ImageSource(drive_name(path.stem), (path,), frames, expected, is_moving=True)]
    images = image_files(path)
    if not images:
        msg = (
            f'{path} holds no images, and is no video ({", ".join(VIDEOS)}) and no bag: bags are '
            'read where lemore_ros is installed with its extra bag'
        )
        raise DistillError(msg)
    return _by_drive(path if path.is_dir() else path.parent, images)


def _by_drive(folder: Path, images: Sequence[Path]) -> list[ImageSource]:
    names = drive_names(images, folder)
    if len(set(names)) == 1 and not any(map(str.isdigit, names[0])):
        names = [folder.resolve().name] * len(images)
    by_drive: dict[str, list[Path]] = {}
    for name, image in zip(names, images, strict=True):
        by_drive.setdefault(drive_name(name), []).append(image)
    return [
        ImageSource(drive, tuple(paths), lambda paths=paths: iter(paths), len(paths))  # type: ignore[misc]
        for drive, paths in by_drive.items()
    ]
