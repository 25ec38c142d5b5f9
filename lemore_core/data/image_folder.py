"""Images in a folder for each class, as ImageNet is laid out after its usual preparation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lemore_core.data.check import some
from lemore_core.data.errors import DataError
from lemore_core.data.parallel import OnProgress, for_each
from lemore_core.data.pixels import read_rgb
from lemore_core.image_file import SUFFIXES

NAMED_CLASSES = 5  # folders in an error


@dataclass(frozen=True)
class LabelledImages:
    """Images of one split and what they show.

    ``names`` are relative to ``folder`` (a million paths would take a gigabyte), ``labels`` their
    class ids, (images,) int64.
    """

    folder: Path
    names: tuple[str, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> NDArray[np.uint8]:
        """Return an image, RGB (H, W, 3) uint8.

        Raises:
            DataError: the file is no readable image.

        """
        return read_rgb(self.folder / self.names[index])

    def share(self, process: int, processes: int) -> LabelledImages:
        """Return every ``processes``-th image, beginning with number ``process``."""
        return LabelledImages(
            self.folder, self.names[process::processes], self.labels[process::processes]
        )


@dataclass(frozen=True)
class ImageFolder:
    """Classes, which are the names of the folders in ``train`` in their order, and two splits."""

    classes: tuple[str, ...]
    train: LabelledImages
    val: LabelledImages


def open_image_folder(root: Path) -> ImageFolder:
    """Find the images ``root/train/<class>/*`` and ``root/val/<class>/*``.

    Raises:
        DataError: a folder is missing, a class has no images to train with, or ``val`` has
            classes that ``train`` lacks.

    """
    classes = tuple(_classes(root / 'train'))
    if len(classes) < 2:
        msg = f'{root / "train"} has {len(classes)} class folders, a classifier needs two or more'
        raise DataError(msg)
    strangers = [name for name in _classes(root / 'val') if name not in set(classes)]
    if strangers:
        msg = f'{root / "val"} has classes that train lacks: {_first(strangers)}'
        raise DataError(msg)
    train, val = _split(root / 'train', classes), _split(root / 'val', classes)
    counts = np.bincount(train.labels, minlength=len(classes))
    bare = [name for name, count in zip(classes, counts, strict=True) if not count]
    if bare:
        msg = f'{train.folder} has no images of {_first(bare)} ({", ".join(SUFFIXES)})'
        raise DataError(msg)
    if not len(val):
        msg = f'{val.folder} has no images ({", ".join(SUFFIXES)})'
        raise DataError(msg)
    return ImageFolder(classes, train, val)


def require_readable(images: LabelledImages, on_progress: OnProgress | None = None) -> None:
    """Read every image; ``on_progress`` is called with 1 for each.

    Raises:
        DataError: some are unreadable or cut short; the first are named.

    """
    paths = [images.folder / name for name in images.names]
    errors = [error for error in for_each(_error, paths, on_progress) if error is not None]
    if errors:
        msg = '; '.join(some(errors))
        raise DataError(msg)


def _classes(folder: Path) -> list[str]:
    if not folder.is_dir():
        msg = (
            f'there is no folder {folder}: images must lie in train/<class>/ and val/<class>/ '
            'of the data folder'
        )
        raise DataError(msg)
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.'))


def _split(folder: Path, classes: tuple[str, ...]) -> LabelledImages:
    found = [(name, label) for label, c in enumerate(classes) for name in _names(folder, c)]
    names, labels = tuple(name for name, _ in found), [label for _, label in found]
    return LabelledImages(folder, names, np.array(labels, np.int64))


def _names(folder: Path, name: str) -> Iterator[str]:
    if (folder / name).is_dir():
        for path in sorted((folder / name).iterdir()):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith('.'):
                yield f'{name}/{path.name}'


def _error(path: Path) -> str | None:
    try:
        read_rgb(path)
    except DataError as error:
        return str(error)
    return None


def _first(names: list[str]) -> str:
    more = len(names) - NAMED_CLASSES
    return ', '.join(names[:NAMED_CLASSES]) + (f' and {more} more' if more > 0 else '')
