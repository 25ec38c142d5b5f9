"""Open data sets, and list their samples by the layout of each archive.

A data set with a built-in taxonomy and no entry in ``LAYOUTS`` lies as a user's own does:
``images/<split>/**`` and ``masks/<split>/**`` have the same names, ``classes.yaml`` holds the
classes; a mask holds ids, or the classes' colours as RGB; those of two classes may be black and white.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from glob import iglob
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lemore_core.data.drives import SPLITS
from lemore_core.data.samples import (
    MASK_ENDS,
    SUFFIX,
    DataError,
    MaskReader,
    Sample,
    are_black_and_white,
    read_black_and_white,
    read_ids,
    read_ids_or_colors,
    read_labels,
)
from lemore_core.images.files import SUFFIXES
from lemore_core.taxonomy import BUILT_IN, Taxonomy, load_taxonomy

CLASSES = 'classes.yaml'
TABLES = (CLASSES, 'classes.yml', 'classes.json', 'classes.txt', 'data.yaml', 'labelmap.txt')
OWN = 'folder'
DATASETS = (*BUILT_IN, OWN)
STUFF = 'stuffthingmaps_trainval2017/{}'
VOC = ('', 'VOC2010/', 'VOCdevkit/VOC2010/')
# data sets whose names begin with that of a drive; in others images are numbered without order
RECORDED = ('camvid', 'cityscapes', 'folder')
VOC_LISTS = ('ImageSets/SegmentationContext', 'ImageSets/Main')


class Layout(NamedTuple):
    """Folders of images and of masks, the first that exists, and the ends of their files.

    ``{}`` stands for the split, or its name in ``splits``. See :func:`paired` for the ends.
    """

    images: Sequence[str]
    masks: Sequence[str]
    image_ends: Sequence[str]
    mask_readers: Mapping[str, MaskReader]
    splits: Mapping[str, str] = {}


# lossless formats
OWN_LAYOUT = Layout(
    ['images/{}', '{}/images'],
    ['masks/{}', '{}/masks', 'labels/{}', '{}/labels', 'annotations/{}', '{}/annotations'],
    SUFFIXES,
    dict.fromkeys(MASK_ENDS, read_ids_or_colors),
)
LAYOUTS = {
    # ADEChallengeData2016.zip
    'ade20k': Layout(
        ['images/{}', 'ADEChallengeData2016/images/{}'],
        ['annotations/{}', 'ADEChallengeData2016/annotations/{}'],
        ['.jpg'],
        {'.png': read_ids},
        {'train': 'training', 'val': 'validation'},
    ),
    # the SegNet tutorial
    'camvid': Layout(['{}'], ['{}annot'], SUFFIXES, {'.png': read_ids}),
    # leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip
    'cityscapes': Layout(
        ['leftImg8bit/{}'],
        ['gtFine/{}'],
        ['_leftImg8bit.png'],
        {'_gtFine_labelIds.png': read_ids, '_gtFine_labelTrainIds.png': read_labels},
    ),
    # COCO 2017 and stuffthingmaps_trainval2017.zip; some tools write masks of the 171 class ids
    # beside the archive's
    'coco_stuff': Layout(
        ['images/{}', '{}'],
        ['annotations/{}', STUFF, f'annotations/{STUFF}'],
        ['.jpg'],
        {'.png': read_ids, '_labelTrainIds.png': read_labels},
        {'train': 'train2017', 'val': 'val2017'},
    ),
}


@dataclass(frozen=True)
class Dataset:
    """A data set on disk: its taxonomy, and its samples by split."""

    name: str
    root: Path
    taxonomy: Taxonomy

    def __post_init__(self) -> None:
        if self.taxonomy.label_dtype is not np.uint8:
            msg = f'{self.name} has {len(self.taxonomy.classes)} classes, masks hold at most 255'
            raise DataError(msg)

    def samples(self, split: str) -> list[Sample]:
        """Return the samples of a split ('train', 'val' or another of the data set), by name."""
        samples = self.listing(split)
        messages = [sample.missing for sample in samples if sample.missing]
        if messages:
            more = len(messages) - 1
            msg = messages[0] + (f', and {more} more lack theirs' if more else '')
            if self.name == OWN:
                msg += ' (lemore data split makes a data set without them)'
            raise DataError(msg)
        return samples

    @cached_property
    def _is_black_and_white(self) -> bool:
        kinds = ([*self.root.glob(kind.format('*'))] for kind in OWN_LAYOUT.masks)
        folders = next(filter(None, kinds), [])
        masks = sorted(path for folder in folders for path in folder.rglob('*'))
        masks = [path for path in masks if path.suffix.lower() in MASK_ENDS]
        return are_black_and_white(masks, self.taxonomy)

    def listing(self, split: str) -> list[Sample]:
        """Return the samples of a split; a missing image or mask has its expected path."""
        if self.name.startswith('pascal_context'):
            return _pascal_context(self.root, split, self.taxonomy)
        layout = LAYOUTS.get(self.name, OWN_LAYOUT)
        part = layout.splits.get(split, split)
        others = [name for name, known in SPLITS.items() if known == split != name]
        parts = [part, *(others if layout is OWN_LAYOUT else [])]
        both = layout.images, layout.masks
        kinds = [[folder.format(one) for folder in kind for one in parts] for kind in both]
        needs = f'{self.taxonomy.name} needs {kinds[0][0]}/ and {kinds[1][0]}/ in {self.root}'
        if layout is OWN_LAYOUT:
            needs += f', with the same names but for the suffix: {part}/a/1.jpg and {part}/a/1.png'
            needs += ' (lemore data split makes them)'
        images, masks = (_first_folder(self.root, folders, needs) for folders in kinds)
        samples = paired(images, masks, self.taxonomy, layout)
        if layout is OWN_LAYOUT and self._is_black_and_white:
            samples = [replace(one, reader=read_black_and_white) for one in samples]
        soft = self.root / 'soft' / split
        if layout is not OWN_LAYOUT or not soft.is_dir():
            return samples
        # beside all masks or none
        return [
            replace(one, soft=soft / one.mask.relative_to(masks).with_suffix(SUFFIX))
            for one in samples
        ]


def open_dataset(name: str, root: Path) -> Dataset:
    """Return the data set ``name`` in the folder ``root``.

    Raises:
        DataError: there is no data set of that name, or no such folder.
        TaxonomyError: the classes of a user's own data set cannot be read.
    """
    if name not in DATASETS:
        msg = f'no data set is called {name!r}: give one of {", ".join(DATASETS)}'
        raise DataError(msg)
    if not root.is_dir():
        msg = f'there is no folder {root}'
        raise DataError(msg)
    if name != OWN:
        return Dataset(name, root, load_taxonomy(name))
    tables = [root / one for one in TABLES if (root / one).is_file()]
    if not tables:
        msg = f'there is no class table {root / CLASSES}: write one, such as [background, person]'
        raise DataError(msg)
    return Dataset(name, root, load_taxonomy(str(tables[0])))


def _pascal_context(root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
    """List a split of PASCAL Context: VOC2010, and the masks of mmsegmentation's converter."""
    needs = (
        f'PASCAL Context needs JPEGImages/ and SegmentationClassContext/*.png in {root} or its '
        'VOCdevkit/VOC2010/ (masks of the 59 classes, as mmsegmentation makes them)'
    )
    images = _first_folder(root, [f'{name}JPEGImages' for name in VOC], needs)
    home = images.parent
    masks = _first_folder(home, ['SegmentationClassContext'], needs)
    lists = [home / folder / f'{split}.txt' for folder in VOC_LISTS]
    found = next((path for path in lists if path.is_file()), None)
    if found is None:
        msg = f'there is no list {" or ".join(map(str, lists))}'
        raise DataError(msg)
    names = sorted(found.read_text(encoding='utf-8').split())
    if not names:
        msg = f'{found} lists no images'
        raise DataError(msg)
    return [Sample(images / f'{name}.jpg', masks / f'{name}.png', taxonomy) for name in names]


def _first_folder(root: Path, names: Sequence[str], needs: str) -> Path:
    """Return the first of the named folders in ``root``; ``needs`` describes the layout in errors."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    msg = f'there is no folder {root / names[0]}: {needs}'
    raise DataError(msg)


def paired(
    images: Path, masks: Path, taxonomy: Taxonomy, layout: Layout = OWN_LAYOUT
) -> list[Sample]:
    """Return samples of the images and masks below two folders, by name.

    An image and its mask have the same relative path but for their ends: one of ``image_ends`` and
    one of ``mask_readers``. Of several masks of an image, the first in ``mask_readers`` is taken.
    Where both lie in one folder, what may be a mask is none of the images.
    """
    mask_readers, mask_ends = layout.mask_readers, list(layout.mask_readers)
    image_ends, in_one = list(layout.image_ends), images.resolve() == masks.resolve()
    if in_one:
        image_ends = [end for end in image_ends if end not in mask_readers]
    found = _by_name(images, image_ends, mask_ends if in_one else [])
    labelled = _by_name(masks, mask_ends, image_ends if in_one else [])
    for ends in found.values():
        if len(ends) > 1:
            first, second = (images / path for path in list(ends.values())[:2])
            msg = f'{first} and {second} are two images of one name'
            raise DataError(msg)
    if not found and not labelled:
        msg = f'{images} holds no images that end in {", ".join(image_ends)}'
        raise DataError(msg)
    # names of masks in another case or Unicode form, as programs of other systems write them, or
    # with the end of the image
    names = {_plain(path): name for name, ends in found.items() for path in [name, *ends.values()]}
    taken = found.keys() & labelled.keys()
    labelled = {
        other if (other := names.get(_plain(name), name)) not in taken else name: ends
        for name, ends in labelled.items()
    }
    samples = []
    for name in sorted(found.keys() | labelled.keys()):
        image = next(iter(found.get(name, {'': f'{name}{image_ends[0]}'}).values()))
        default = next(iter(mask_readers))
        end, mask = next(iter(labelled.get(name, {default: f'{name}{default}'}).items()))
        samples.append(Sample(images / image, masks / mask, taxonomy, mask_readers[end]))
    return samples


def _plain(name: str) -> str:
    """Return a name as it compares on systems that know no case, in one Unicode form."""
    return unicodedata.normalize('NFC', name).lower()


def end_of(path: str, ends: Sequence[str]) -> str | None:
    """Return the longest end that fits a path: a_labelTrainIds.png does not belong to .png."""
    fitting = [end for end in ends if path.lower().endswith(end.lower())]
    return max(fitting, key=len, default=None)


def _by_name(folder: Path, ends: Sequence[str], others: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the relative path of each file by its name without its end, and its end.

    Files with one of the ``others`` are left out.
    """
    found: dict[str, dict[str, str]] = {}
    # leaves hidden files out, and follows links
    for path in iglob('**', root_dir=folder, recursive=True):  # noqa: PTH207
        end = end_of(path, [*ends, *others])
        if end is None or end in others:
            continue
        files = found.setdefault(path[: -len(end)], {})
        if end in files:
            msg = f'{folder / files[end]} and {folder / path} are two files of one name'
            raise DataError(msg)
        files[end] = path
    return {
        name: {end: files[end] for end in ends if end in files} for name, files in found.items()
    }
