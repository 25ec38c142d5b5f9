"""Divide a user's images and masks by drives into a data set of the layout ``folder``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lemore_core.data.drives import drives, last_drives
from lemore_core.data.layouts.folder import CLASSES, pairs
from lemore_core.data.samples import DataError
from lemore_core.taxonomy import load_taxonomy

SHARE = 0.2  # of the images to validate on, at least


def split(
    images: Path, masks: Path, classes: Path, output: Path, hold_out: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Copy images and masks into ``output``; return the drives in train and in val.

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
