"""List PASCAL Context: the images of VOC2010, and masks in either of two forms.

``SegmentationClassContext/*.png`` hold 1 to 59 for the frequent classes in alphabetical order and 0
for all others. The original distribution is ``trainval/*.mat`` with ids of all 459 classes, named
in ``labels.txt``; PNG masks are preferred.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lemore_core.data.layouts.folder import first_folder
from lemore_core.data.readers import read_ids
from lemore_core.data.samples import DataError, MaskReader, Sample
from lemore_core.taxonomy import Labels, Taxonomy

FOLDERS = ('', 'VOC2010/', 'VOCdevkit/VOC2010/')
PNG_MASKS, MAT_MASKS, NAMES = 'SegmentationClassContext', 'trainval', 'labels.txt'
LISTS = ('ImageSets/SegmentationContext', 'ImageSets/Main')
BACKGROUND = 'background'
OTHERS = 0  # on disk, of the classes outside the 59
# what SciPy and NumPy raise for damaged files
MALFORMED = (OSError, EOFError, LookupError, TypeError, ValueError, zlib.error)


@dataclass(frozen=True)
class LabelMapReader:
    """Read the ``LabelMap`` of a .mat file; ``ids`` are the dataset ids of its numbers."""

    ids: tuple[int, ...]

    def __call__(self, path: Path, taxonomy: Taxonomy) -> Labels:
        """Return class ids (H, W)."""
        try:
            from scipy.io import loadmat
            from scipy.io.matlab import MatReadError
        except ImportError as error:
            msg = f'{path} is read with SciPy: pip install scipy'
            raise DataError(msg) from error
        try:
            numbers = loadmat(path, variable_names=['LabelMap'])['LabelMap']
            return taxonomy.encode(np.array(self.ids, np.uint16)[numbers])
        except (MatReadError, *MALFORMED) as error:
            msg = f'{path} holds no LabelMap of {NAMES} ({type(error).__name__}: {error})'
            raise DataError(msg) from error


def pascal_context(root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
    """List a split of PASCAL Context."""
    needs = f'PASCAL Context needs JPEGImages/ in {root} or its VOCdevkit/VOC2010/'
    images = first_folder(root, [f'{name}JPEGImages' for name in FOLDERS], needs)
    masks, suffix, reader = _masks(images.parent, root, taxonomy)
    return [
        Sample(images / f'{name}.jpg', masks / f'{name}{suffix}', taxonomy, reader)
        for name in _listed(images.parent, split)
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


def _masks(home: Path, root: Path, taxonomy: Taxonomy) -> tuple[Path, str, MaskReader]:
    """Return the folder, suffix and reader of the masks."""
    if (home / PNG_MASKS).is_dir():
        return home / PNG_MASKS, '.png', read_ids
    for parent in (home, root):
        folder = parent / MAT_MASKS
        if folder.is_dir():
            ids = _dataset_ids([folder / NAMES, parent / NAMES, root / NAMES], taxonomy)
            return folder, '.mat', LabelMapReader(ids)
    msg = f'there is neither {PNG_MASKS}/ nor {MAT_MASKS}/ (.mat masks and {NAMES}) in {home}'
    raise DataError(msg)


def _dataset_ids(places: Sequence[Path], taxonomy: Taxonomy) -> tuple[int, ...]:
    """Return the dataset id of each number in labels.txt ("number: name" lines)."""
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
