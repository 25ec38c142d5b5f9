"""Pair images and masks by name; the layout of a user's own data set.

``images/<split>/**`` and ``masks/<split>/**`` have the same names. ``classes.yaml`` holds the
classes; a mask holds ids, or the classes' colours as RGB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from glob import iglob
from pathlib import Path

from lemore_core.data.readers import read_ids_or_colors
from lemore_core.data.samples import DataError, MaskReader, Sample
from lemore_core.data.soft import SUFFIX
from lemore_core.images.files import SUFFIXES
from lemore_core.taxonomy import Taxonomy

CLASSES = 'classes.yaml'
MASKS = ('.png', '.bmp', '.tif', '.tiff')  # lossless formats


def folder(root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
    """List a split of a user's own data set; soft labels are beside all of its masks or none."""
    needs = (
        f'a data set of your own needs images/{split}/ and masks/{split}/ in {root}, with the same '
        f'names in both but for the suffix: images/{split}/a/1.jpg and masks/{split}/a/1.png'
    )
    images, masks = (first_folder(root, [f'{kind}/{split}'], needs) for kind in ('images', 'masks'))
    samples, soft = pairs(images, masks, taxonomy), root / 'soft' / split
    if not soft.is_dir():
        return samples
    return [
        replace(one, soft=soft / one.mask.relative_to(masks).with_suffix(SUFFIX)) for one in samples
    ]


def pairs(images: Path, masks: Path, taxonomy: Taxonomy) -> list[Sample]:
    """Return the images and masks below two folders that have the same names but for the suffix."""
    return paired(images, masks, taxonomy, SUFFIXES, dict.fromkeys(MASKS, read_ids_or_colors))


def first_folder(root: Path, names: Sequence[str], needs: str) -> Path:
    """Return the first of the named folders in ``root``; ``needs`` describes the layout in errors."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    msg = f'there is no folder {root / names[0]}: {needs}'
    raise DataError(msg)


def paired(
    images: Path,
    masks: Path,
    taxonomy: Taxonomy,
    image_ends: Sequence[str],
    mask_readers: Mapping[str, MaskReader],
) -> list[Sample]:
    """Return samples of the images and masks below two folders, by name.

    An image and its mask have the same relative path but for their ends: one of ``image_ends`` and
    one of ``mask_readers``. Of several masks of an image, the first in ``mask_readers`` is taken.

    Raises:
        DataError: the folders hold neither images nor masks, or two images have the same name.
    """
    found, labelled = _by_name(images, image_ends), _by_name(masks, list(mask_readers))
    for ends in found.values():
        if len(ends) > 1:
            first, second = (images / path for path in list(ends.values())[:2])
            msg = f'{first} and {second} are two images of one name'
            raise DataError(msg)
    if not found and not labelled:
        msg = f'{images} holds no images that end in {", ".join(image_ends)}'
        raise DataError(msg)
    samples = []
    for name in sorted(found.keys() | labelled.keys()):
        image = next(iter(found.get(name, {'': f'{name}{image_ends[0]}'}).values()))
        default = next(iter(mask_readers))
        end, mask = next(iter(labelled.get(name, {default: f'{name}{default}'}).items()))
        samples.append(Sample(images / image, masks / mask, taxonomy, mask_readers[end]))
    return samples


def _by_name(folder: Path, ends: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the relative path of each file by its name without its end, and its end."""
    # the longest end that fits is a file's own: a_labelTrainIds.png does not belong to .png
    by_length = sorted(ends, key=len, reverse=True)
    found: dict[str, dict[str, str]] = {}
    # leaves hidden files out, and follows links
    for path in iglob('**', root_dir=folder, recursive=True):  # noqa: PTH207
        end = next((end for end in by_length if path.lower().endswith(end.lower())), None)
        if end is None:
            continue
        files = found.setdefault(path[: -len(end)], {})
        if end in files:
            msg = f'{folder / files[end]} and {folder / path} are two files of one name'
            raise DataError(msg)
        files[end] = path
    return {
        name: {end: files[end] for end in ends if end in files} for name, files in found.items()
    }
