"""Group images by drive, the images of one recording, and split a data set between drives.

Frames of one drive show the same road in the same light. Figures of a network on a drive that it
was trained on are optimistic.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from lemore_core.data.datasets import CLASSES, paired
from lemore_core.data.samples import DataError, Sample
from lemore_core.taxonomy import load_taxonomy

# data sets whose names begin with that of a drive; in others images are numbered without order
RECORDED = ('camvid', 'cityscapes', 'folder')
SHARE = 0.2  # of the images to validate on, at least


def drive(image: Path) -> str:
    """Return the beginning of an image's name, up to the first ``_``; without one, its folder."""
    return image.stem.partition('_')[0] if '_' in image.stem else image.parent.name


def drives(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Return the samples of each drive, by its name."""
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(drive(sample.image), []).append(sample)
    return dict(sorted(found.items()))


def held_out(samples: Sequence[Sample], name: str) -> tuple[list[Sample], list[Sample]]:
    """Return the samples of all other drives, and of the drive ``name``."""
    by_drive = drives(samples)
    if name not in by_drive or len(by_drive) < 2:
        msg = f'{name} cannot be held out: the drives are {", ".join(by_drive)}'
        raise DataError(msg)
    kept = by_drive.pop(name)
    return [sample for found in by_drive.values() for sample in found], kept


def last_drives(images: Mapping[str, int], share: float) -> list[str]:
    """Return the last of the drives of so many images that make ``share`` of all, never the first."""
    chosen: list[str] = []
    for name in reversed(list(images)[1:]):
        if sum(images[one] for one in chosen) < share * sum(images.values()):
            chosen.append(name)
    return chosen


def shared_drives(train: Sequence[Sample], val: Sequence[Sample]) -> list[str]:
    """Return a warning for each drive with images in both splits."""
    seen = drives(train)
    return [
        f'{len(found)} images of val are of drive {name}, of which train has {len(seen[name])}: '
        f'hold drives out instead (lemore train --hold-out {name})'
        for name, found in drives(val).items()
        if name in seen
    ]


def split(
    images: Path, masks: Path, classes: Path, output: Path, hold_out: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Copy images and masks into a data set ``output``; return its drives in train and in val.

    The drives ``hold_out`` go to val, by default the last ones that make a fifth.

    Raises:
        LemoreError: the classes cannot be read, a file has no partner, ``output`` exists, or the
            drives cannot be held out, such as the only one.
    """
    samples = paired(images, masks, load_taxonomy(str(classes)))
    missing = [sample.missing for sample in samples if sample.missing]
    if missing:
        msg = f'{missing[0]} ({len(missing)} such files): an image and its mask have the same name'
        raise DataError(msg)
    if output.exists():
        msg = f'{output} exists already: choose another --output'
        raise DataError(msg)
    by_drive = drives(samples)
    held = set(hold_out or last_drives({name: len(of) for name, of in by_drive.items()}, SHARE))
    if not held or not held < set(by_drive):
        msg = (
            f'{", ".join(sorted(held)) or "nothing"} cannot be held out: the drives are '
            f'{", ".join(by_drive)} (the beginnings of the names up to "_", or the folders)'
        )
        raise DataError(msg)
    for name, found in by_drive.items():
        part = 'val' if name in held else 'train'
        for one in found:
            copy_into(output / 'images' / part / one.image.relative_to(images), one.image)
            copy_into(output / 'masks' / part / one.mask.relative_to(masks), one.mask)
    shutil.copyfile(classes, output / CLASSES)
    return {'train': [name for name in by_drive if name not in held], 'val': sorted(held)}


def copy_into(target: Path, source: Path) -> None:
    """Copy a file into a folder that need not exist."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
