"""Drives: images that were recorded one after another, which no split may divide.

Frames of one drive show the same road in the same light. A network that is validated on a drive
that it was trained on is measured on what it has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.data.errors import DataError
from lemore_core.data.samples import Sample

GROUPS = 'groups.txt'
# data sets whose names begin with that of a drive; in others they are numbered as they were found
RECORDED = ('camvid', 'cityscapes', 'folder')
SIMILAR_BITS = 4  # of 64, by which the hashes of two near-duplicates differ at most


def drives(samples: Sequence[Sample], root: Path) -> dict[str, list[Sample]]:
    """Return the samples of each drive, by its name.

    ``groups.txt`` in the data set's folder ``root`` names the drive of each image, a line each:
    the image's name without its suffix, a space, and the drive's. Without that file a drive is
    the beginning of an image's name, up to the first ``_``; of a name without one, its folder.

    Raises:
        DataError: the file cannot be read, or does not name the drive of an image.
    """
    found: dict[str, list[Sample]] = {}
    names = drive_names([sample.image for sample in samples], root)
    for name, sample in zip(names, samples, strict=True):
        found.setdefault(name, []).append(sample)
    return dict(sorted(found.items()))


def drive_names(images: Sequence[Path], root: Path) -> list[str]:
    """Return the drive of each image, as :func:`drives` has it.

    Raises:
        DataError: see :func:`drives`.
    """
    path = root / GROUPS
    named = _read(path) if path.is_file() else None
    found = []
    for image in images:
        name = image.stem
        if named is not None and name not in named:
            msg = f'{path} does not name the drive of {name}'
            raise DataError(msg)
        beginning = name.partition('_')[0] if '_' in name else image.parent.name
        found.append(beginning if named is None else named[name])
    return found


def held_out(
    samples: Sequence[Sample], root: Path, drive: str
) -> tuple[list[Sample], list[Sample]]:
    """Return the samples of all other drives, and those of ``drive``.

    Raises:
        DataError: there is no such drive, or no other.
    """
    by_drive = drives(samples, root)
    if drive not in by_drive or len(by_drive) < 2:
        msg = f'{drive} cannot be held out: the drives are {", ".join(by_drive)}'
        raise DataError(msg)
    others = [one for name, found in by_drive.items() if name != drive for one in found]
    return others, by_drive[drive]


def last_drives(images: Mapping[str, int], share: float) -> list[str]:
    """Return the last of the drives that make ``share`` of all images, without the first one.

    ``images`` are how many each drive has.
    """
    chosen: list[str] = []
    for name in reversed(list(images)[1:]):
        if sum(images[one] for one in chosen) < share * sum(images.values()):
            chosen.append(name)
    return chosen


def shared_drives(train: Sequence[Sample], val: Sequence[Sample], root: Path) -> list[str]:
    """Say which drives both splits have images of, a sentence each.

    Raises:
        DataError: see :func:`drives`.
    """
    seen = drives(train, root)
    return [
        f'{len(found)} images of val are of drive {name}, of which train has {len(seen[name])}: '
        f'hold drives out instead (lemore train --hold-out {name})'
        for name, found in drives(val, root).items()
        if name in seen
    ]


def image_hash(image: NDArray[np.uint8]) -> int:
    """Return 64 bits that images (H, W, 3) of the same look share: dark to light, cell by cell."""
    small = cv2.resize(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA
    )
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), 'big')


def near_duplicates(train: Sequence[int | None], val: Sequence[int | None]) -> list[int]:
    """Return the places in ``val`` of hashes to which one in ``train`` is alike."""
    known = np.array([one for one in train if one is not None], np.uint64)
    found = []
    for place, one in enumerate(val):
        if one is None or not len(known):
            continue
        differing = np.unpackbits((known ^ np.uint64(one)).view(np.uint8)).reshape(-1, 64).sum(1)
        if differing.min() <= SIMILAR_BITS:
            found.append(place)
    return found


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
        return dict(line.split() for line in lines if line.strip())
    except (OSError, ValueError) as error:
        msg = f'{path} must hold an image name and a drive a line: {error}'
        raise DataError(msg) from error
