"""Group images by drive, the images of one recording, and split a data set between drives.

Frames of one drive show the same road in the same light. Figures of a network on a drive that it
was trained on are optimistic.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from lemore_core.data.layouts.folder import CLASSES, pairs
from lemore_core.data.samples import DataError, Sample
from lemore_core.taxonomy import load_taxonomy

GROUPS = 'groups.txt'
# data sets whose names begin with that of a drive; in others images are numbered without order
RECORDED = ('camvid', 'cityscapes', 'folder')
SHARE = 0.2  # of the images to validate on, at least


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
    """Return the drive of each image, by the rules of :func:`drives`."""
    path = root / GROUPS
    if not path.is_file():
        return [
            one.stem.partition('_')[0] if '_' in one.stem else one.parent.name for one in images
        ]
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
        named = dict(line.split() for line in lines if line.strip())
    except (OSError, ValueError) as error:
        msg = f'{path} must hold an image name and a drive a line: {error}'
        raise DataError(msg) from error
    unknown = [one.stem for one in images if one.stem not in named]
    if unknown:
        msg = f'{path} does not name the drive of {unknown[0]}'
        raise DataError(msg)
    return [named[one.stem] for one in images]


def held_out(
    samples: Sequence[Sample], root: Path, drive: str
) -> tuple[list[Sample], list[Sample]]:
    """Return the samples of all other drives, and of ``drive``.

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
    """Return the last drives that make ``share`` of all images, without the first one.

    ``images`` is the number of images of each drive.
    """
    chosen: list[str] = []
    for name in reversed(list(images)[1:]):
        if sum(images[one] for one in chosen) < share * sum(images.values()):
            chosen.append(name)
    return chosen


def shared_drives(train: Sequence[Sample], val: Sequence[Sample], root: Path) -> list[str]:
    """Return a warning for each drive with images in both splits."""
    seen = drives(train, root)
    return [
        f'{len(found)} images of val are of drive {name}, of which train has {len(seen[name])}: '
        f'hold drives out instead (lemore train --hold-out {name})'
        for name, found in drives(val, root).items()
        if name in seen
    ]


def split(
    images: Path, masks: Path, classes: Path, output: Path, hold_out: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Copy images and masks into a data set ``output``; return its drives in train and in val.

    The drives ``hold_out`` go to val, by default the last ones that make a fifth.

    Raises:
        DataError: a file has no partner, ``output`` exists, or the drives cannot be held out, such
            as the only one.
        TaxonomyError: the classes cannot be read.
    """
    samples = pairs(images, masks, load_taxonomy(str(classes)))
    missing = [sample.missing for sample in samples if sample.missing]
    if missing:
        msg = f'{missing[0]} ({len(missing)} such files): an image and its mask have the same name'
        raise DataError(msg)
    if output.exists():
        msg = f'{output} exists already: choose another --output'
        raise DataError(msg)
    by_drive = drives(samples, images)
    held = set(hold_out or last_drives({name: len(of) for name, of in by_drive.items()}, SHARE))
    if not held or not held < set(by_drive):
        msg = (
            f'{", ".join(sorted(held)) or "nothing"} cannot be held out: the drives are '
            f'{", ".join(by_drive)} (the beginnings of the names, or as in {images}/groups.txt)'
        )
        raise DataError(msg)
    for name, found in by_drive.items():
        part = 'val' if name in held else 'train'
        for sample in found:
            for kind, path, root in (
                ('images', sample.image, images),
                ('masks', sample.mask, masks),
            ):
                target = output / kind / part / path.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    shutil.copyfile(classes, output / CLASSES)
    return {'train': [name for name in by_drive if name not in held], 'val': sorted(held)}
