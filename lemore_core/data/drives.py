"""Divide images by drives, and hold drives out.

The frames of one drive (a recording) show the same road in the same light. Figures of a network on
a drive that it was trained on are optimistic.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from lemore_core.common.errors import counted
from lemore_core.data.samples import DataError, Sample

HELD_OUT = 0.2  # share of the images to validate on, at least
LONELY, FEW = 0.75, 3  # share of names that begin as no other, and drives that may well do so
LISTED_AT_MOST = 19  # names of drives; more are counted
# folders of data sets, and the splits that they hold
SPLITS = {'train': 'train', 'training': 'train', 'test': 'test'}
SPLITS |= dict.fromkeys(('val', 'valid', 'validation'), 'val')

Item = TypeVar('Item')


def drive_names(images: Sequence[Path]) -> list[str]:
    """Return the drive of each image: the beginning of its name up to the first ``_``, or its folder.

    Folders are the drives where nearly every beginning stands for one image, and where all images
    begin alike without a number, such as ``IMG``, in several folders.
    """
    begins = [path.stem.partition('_')[0] if '_' in path.stem else '' for path in images]
    known = Counter(begin for begin in begins if begin)
    lonely = sum(number == 1 for number in known.values())
    folders = _folder_names([path.parent for path in images])
    is_word = len(known) == 1 < len(set(folders)) and not any(map(str.isdigit, *known))
    if is_word or (lonely > LONELY * len(known) and len(known) > FEW):
        begins = [''] * len(images)
    found = zip(begins, folders, images, strict=True)
    return [begin or folder or image.absolute().parent.name for begin, folder, image in found]


def _folder_names(folders: Sequence[Path]) -> list[str]:
    """Return the paths below the folder that all have in common, without names of splits."""
    common, names = Path(os.path.commonpath(folders or '/')), {}
    for folder in set(folders):
        parts = folder.relative_to(common).parts
        names[folder] = '/'.join(part for part in parts if part not in SPLITS)
    return [names[folder] for folder in folders]


def rule(by_drive: Mapping[str, Sequence[Sample]]) -> str:
    """Return a sentence: how many drives there are, what they are, and whether that is likely."""
    images = [one.image for found in by_drive.values() for one in found]
    begin = [name for name, found in by_drive.items() for _ in found]
    named = all(path.stem.startswith(f'{b}_') for b, path in zip(begin, images, strict=True))
    text = f'{counted(len(by_drive), "drive")}: the '
    text += 'beginnings of the names up to "_"' if named else 'folders'
    odd = ', nearly one for each image: put each recording into a folder'
    return text + odd * (len(by_drive) > max(FEW, len(images) / 2))


def drives(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Return the samples of each drive, by its name."""
    found: dict[str, list[Sample]] = {}
    names = drive_names([sample.image for sample in samples])
    for name, sample in zip(names, samples, strict=True):
        found.setdefault(name, []).append(sample)
    return dict(sorted(found.items()))


def listed(names: Iterable[str]) -> str:
    """Return the names of drives, of many their number."""
    found = list(names)
    if len(found) <= LISTED_AT_MOST:
        return ', '.join(found)
    return f'{counted(len(found), "drive")} from {found[0]} to {found[-1]}'


def held_out(samples: Sequence[Sample], name: str) -> tuple[list[Sample], list[Sample]]:
    """Return the samples of all other drives, and of the drive ``name``."""
    by_drive = drives(samples)
    if name not in by_drive or len(by_drive) < 2:
        msg = f'{name} cannot be held out: the drives are {listed(by_drive)}'
        raise DataError(msg)
    kept = by_drive.pop(name)
    return [sample for found in by_drive.values() for sample in found], kept


def last_drives(images: Mapping[str, Sequence[object]]) -> list[str]:
    """Return the last drives that make a fifth of all images, without the first one."""
    chosen: list[str] = []
    for name in reversed(list(images)[1:]):
        if sum(len(images[one]) for one in chosen) < HELD_OUT * sum(map(len, images.values())):
            chosen.append(name)
    return chosen


def without_end(images: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Return the images of a single drive, two or more, without its last fifth, and that."""
    cut = min(len(images) - 1, round(len(images) * (1 - HELD_OUT)))
    return list(images[:cut]), list(images[cut:])


def in_order(path: Path) -> list[object]:
    """Sort key by name: 2 comes before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', str(path))]


def shared_drives(train: Sequence[Sample], val: Sequence[Sample]) -> list[str]:
    """Return a warning for each drive with images in both splits, or for many of them."""
    trained = {sample.image for sample in train}
    shared = {}
    # of both splits: the images of one may be named otherwise
    for name, found in drives([*train, *val]).items():
        seen = sum(sample.image in trained for sample in found)
        if 0 < seen < len(found):
            shared[name] = len(found) - seen, seen
    advice = 'hold drives out instead (lemore train --hold-out'
    if len(shared) > LISTED_AT_MOST:
        number = sum(unseen for unseen, _ in shared.values())
        return [
            f'{number} images of val are of drives that train has too: {listed(shared)}: {advice})'
        ]
    return [
        f'{unseen} images of val are of drive {name}, of which train has {seen}: {advice} {name})'
        for name, (unseen, seen) in shared.items()
    ]
