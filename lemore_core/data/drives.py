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


def divided(
    by_drive: Mapping[str, Sequence[Item]], hold_out: Iterable[str] = ()
) -> tuple[list[Item], list[Item], list[str]]:
    """Return what to train on, what to validate on, and the drives of that.

    By default these are the last drives that make a fifth; of a single one it is the end.
    """
    names = list(dict.fromkeys(hold_out))
    number = sum(map(len, by_drive.values()))
    if number < 2:
        msg = 'there is only one image: give more'
        raise DataError(msg)
    if not names and len(by_drive) == 1:
        (items,) = map(list, by_drive.values())
        cut = min(number - 1, round(number * (1 - HELD_OUT)))
        return items[:cut], items[cut:], []
    if not names:
        for name in reversed(list(by_drive)[1:]):
            if sum(len(by_drive[one]) for one in names) < HELD_OUT * number:
                names.insert(0, name)
    if not set(names) < set(by_drive):
        msg = f'{listed(names)} cannot be held out: the drives are {listed(by_drive)}'
        raise DataError(msg)
    train = [one for name, found in by_drive.items() if name not in names for one in found]
    return train, [one for name in names for one in by_drive[name]], names


def in_order(path: Path) -> list[object]:
    """Sort key by name: 2 comes before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', str(path))]


def shared_drives(train: Sequence[Sample], val: Sequence[Sample]) -> str:
    """Return a warning of the drives with images in both splits, '' if there are none."""
    trained = {sample.image for sample in train}
    shared, number = [], 0
    # of both splits: the images of one may be named otherwise
    for name, found in drives([*train, *val]).items():
        seen = sum(sample.image in trained for sample in found)
        if 0 < seen < len(found):
            shared.append(name)
            number += len(found) - seen
    if not shared:
        return ''
    return (
        f'{counted(number, "image")} of val from drives that train has too: {listed(shared)}; '
        'hold drives out instead (lemore train --hold-out)'
    )
