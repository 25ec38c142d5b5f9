"""PASCAL Context: the images of VOC2010, and masks in either of two forms.

``SegmentationClassContext/*.png`` hold 1 to 59 for the frequent classes in alphabetical order and 0
for all others. The original distribution is ``trainval/*.mat`` with ids of all 459 classes, which
``labels.txt`` names; where both are there, the PNG masks are taken.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lemore_core.data.errors import DataError
from lemore_core.data.layouts.pairs import first_folder
from lemore_core.data.readers import read_ids
from lemore_core.data.samples import MaskReader, Sample
from lemore_core.taxonomy import Labels, Taxonomy

FOLDERS = ('', 'VOC2010', 'VOCdevkit/VOC2010')
PNG_MASKS = 'SegmentationClassContext'
MAT_MASKS = 'trainval'
NAMES = 'labels.txt'
LISTS = ('ImageSets/SegmentationContext', 'ImageSets/Main')
BACKGROUND = 'background'
# what SciPy and NumPy raise for files that are cut off or hold something else
MALFORMED = (OSError, EOFError, LookupError, TypeError, ValueError)
OTHERS = 0  # on disk, of the classes that are none of the 59


@dataclass(frozen=True)
class _Masks:
    folder: Path
    suffix: str
    reader: MaskReader


@dataclass(frozen=True)
class LabelMapReader:
    """Reads the ``LabelMap`` of a .mat file; ``ids`` holds the id on disk of each of its numbers."""

    ids: tuple[int, ...]

    def __call__(self, path: Path, taxonomy: Taxonomy) -> Labels:
        """Return class ids (H, W).

        Raises:
            DataError: the file holds no such map, or SciPy is missing.
        """
        try:
            from scipy.io import loadmat
            from scipy.io.matlab import MatReadError
        except ImportError as error:
            msg = f'{path} is read with SciPy: pip install scipy'
            raise DataError(msg) from error
        try:
            numbers = loadmat(path, variable_names=['LabelMap'])['LabelMap']
            return taxonomy.encode(np.array(self.ids, np.uint16)[numbers])
        except (MatReadError, zlib.error, *MALFORMED) as error:
            msg = f'{path} holds no LabelMap of {NAMES} ({type(error).__name__}: {error})'
            raise DataError(msg) from error


def pascal_context(root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
    """List a split, see :class:`~lemore_core.data.layouts.Layout`."""
    needs = f'PASCAL Context needs JPEGImages/ in {root} or its VOCdevkit/VOC2010/'
    images = first_folder(root, [f'{name}/JPEGImages'.lstrip('/') for name in FOLDERS], needs)
    home = images.parent
    names = _listed(home, split)
    masks = _masks(home, root, taxonomy)
    return [
        Sample(
            images / f'{name}.jpg', masks.folder / f'{name}{masks.suffix}', taxonomy, masks.reader
        )
        for name in names
    ]


def _listed(home: Path, split: str) -> list[str]:
    """Return the names in the split's list, sorted."""
    for folder in LISTS:
        path = home / folder / f'{split}.txt'
        if path.is_file():
            names = path.read_text(encoding='utf-8').split()
            if not names:
                msg = f'{path} lists no images'
                raise DataError(msg)
            return sorted(names)
    msg = f'there is no list {split}.txt in {" or ".join(str(home / folder) for folder in LISTS)}'
    raise DataError(msg)


def _masks(home: Path, root: Path, taxonomy: Taxonomy) -> _Masks:
    if (home / PNG_MASKS).is_dir():
        return _Masks(home / PNG_MASKS, '.png', read_ids)
    for parent in (home, root):
        folder = parent / MAT_MASKS
        if folder.is_dir():
            ids = _full_ids([folder / NAMES, parent / NAMES, root / NAMES], taxonomy)
            return _Masks(folder, '.mat', LabelMapReader(ids))
    msg = f'there is neither {PNG_MASKS}/ nor {MAT_MASKS}/ (.mat masks and {NAMES}) in {home}'
    raise DataError(msg)


def _full_ids(places: Sequence[Path], taxonomy: Taxonomy) -> tuple[int, ...]:
    """Return the id on disk of each number that labels.txt ("number: name" lines) names."""
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        msg = f'there is no {places[1]}, which names the numbers in the masks'
        raise DataError(msg)
    lines = [line.split(':', 1) for line in path.read_text(encoding='utf-8').splitlines() if line]
    try:
        numbers = {name.strip(): int(number) for number, name in lines}
        known = zip(taxonomy.classes, taxonomy.disk_ids, strict=True)
        wanted = {numbers[name]: ids[0] for name, ids in known if name != BACKGROUND}
    except (ValueError, KeyError) as error:
        msg = f'{path} does not name the classes of {taxonomy.name!r} in "number: name" lines: '
        raise DataError(msg + str(error)) from error
    return tuple(wanted.get(number, OTHERS) for number in range(max(numbers.values()) + 1))
