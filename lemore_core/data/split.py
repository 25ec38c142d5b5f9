"""Divide a user's own images and masks into a data set of the layout ``folder``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lemore_core.common.errors import counted
from lemore_core.common.files import atomic_folder, require_new
from lemore_core.common.yaml_file import dump_yaml
from lemore_core.data.datasets import CLASSES, OWN_LAYOUT, Layout, end_of, paired
from lemore_core.data.drives import SPLITS, divided, drives, in_order, listed, rule
from lemore_core.data.samples import DataError, Sample
from lemore_core.images.files import SUFFIXES
from lemore_core.taxonomy import Taxonomy

Parts = dict[str, list[Sample]]


def split(
    images: Path,
    masks: Path,
    taxonomy: Taxonomy,
    output: Path,
    hold_out: Sequence[str] = (),
    suffixes: tuple[str, str] = ('', ''),
) -> tuple[list[str], list[str]]:
    """Copy images and masks into a data set ``output``; return lines about it, and what is left out.

    The drives ``hold_out`` go to val; by default folders ``train`` and ``val`` stay what they are,
    else the last drives that make a fifth go there, or the end of a single one. ``suffixes`` end
    the names of images and of masks, and are left out of those in the data set.
    """
    require_new(output, DataError)
    for folder in (images, masks):
        if not folder.is_dir():
            msg = f'there is no folder {folder}'
            raise DataError(msg)
    layout = _layout(*suffixes)
    given: Parts = {}
    bare: Parts = {}
    for one in paired(images, masks, taxonomy, layout):
        part = SPLITS.get(one.image.relative_to(images).parts[0], '')
        (bare if one.missing else given).setdefault(part, []).append(one)
    has_splits = given.keys() in ({'train', 'val'}, {'train', 'val', 'test'}) and not hold_out
    untested = bare.pop('test', []) if has_splits else []
    missing = [one.missing for found in bare.values() for one in found]
    if not given:
        msg = (
            f'{missing[0]} ({len(missing)} such files): an image and its mask have the same name, '
            'but for ends that --image-suffix and --mask-suffix give'
        )
        raise DataError(msg)
    if has_splits:
        parts = given
        lines = [
            f'{part:<6} {counted(len(found), "image")}, as given' for part, found in parts.items()
        ]
        lines += [f'test   {counted(len(untested), "image")} without masks left out'] * bool(
            untested
        )
    else:
        parts, lines = _divided([one for found in given.values() for one in found], hold_out)
    with atomic_folder(output) as folder:
        for part, found in parts.items():
            for one in found:
                path = one.image.relative_to(images).as_posix()
                name = path[: -len(end_of(path, layout.image_ends) or '')]
                name = name.partition('/')[2] if has_splits else name
                for kind, source in (('images', one.image), ('masks', one.mask)):
                    copy_into(folder / kind / part / f'{name}{source.suffix.lower()}', source)
        (folder / CLASSES).write_text(dump_yaml(taxonomy.to_dict()), encoding='utf-8')
    return lines, missing


def _layout(image_suffix: str, mask_suffix: str) -> Layout:
    """Return the layout of files whose names end so, with or without the end of the file."""
    readers = OWN_LAYOUT.mask_readers
    images, masks = (
        [suffix] if suffix.lower().endswith(tuple(kinds)) else [suffix + kind for kind in kinds]
        for suffix, kinds in ((image_suffix, SUFFIXES), (mask_suffix, readers))
    )
    return Layout(['{}'], ['{}'], images, dict.fromkeys(masks, next(iter(readers.values()))))


def _divided(samples: list[Sample], hold_out: Sequence[str]) -> tuple[Parts, list[str]]:
    """Return the samples to train and to validate on, and lines about them."""
    in_drives = sorted(samples, key=lambda one: in_order(one.image))
    by_drive = drives(in_drives)
    train, val, held = divided(by_drive, hold_out)
    parts = {'train': train, 'val': val}
    lines = [f'{part:<6} {counted(len(found), "image")}' for part, found in parts.items()]
    if not held:
        reason = 'val is its end, which is optimistic: put each recording into a folder'
        return parts, [*lines, f'there is one drive alone, {next(iter(by_drive))}: {reason}']
    names = [name for name in by_drive if name not in held], held
    lines = [f'{line} of {listed(those)}' for line, those in zip(lines, names, strict=True)]
    return parts, [rule(by_drive), *lines]


def copy_into(target: Path, source: Path) -> None:
    """Copy a file into a folder that need not exist."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
