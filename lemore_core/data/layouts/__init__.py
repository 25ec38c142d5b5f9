"""List the samples of the data sets, each in the layout of its archive.

A data set with a built-in taxonomy and no entry here lies as a user's own does, see :mod:`.folder`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lemore_core.data.layouts.folder import first_folder, folder, paired
from lemore_core.data.layouts.pascal_context import pascal_context
from lemore_core.data.readers import read_ids, read_labels
from lemore_core.data.samples import Sample
from lemore_core.images.files import SUFFIXES
from lemore_core.taxonomy import Taxonomy

# lists every image and mask of (root, split, taxonomy), by name; raises DataError without a folder.
# Of an image without a mask, or a mask without an image, the sample has the expected path.
Layout = Callable[[Path, str, Taxonomy], list[Sample]]


def ade20k(root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
    """List a split of ADE20K: ADEChallengeData2016.zip."""
    name = {'train': 'training', 'val': 'validation'}.get(split, split)
    archive = 'ADEChallengeData2016'
    needs = f'ADE20K needs images/{name}/ and annotations/{name}/ in {root} or its {archive}/'
    images, masks = (
        first_folder(root, [f'{kind}/{name}', f'{archive}/{kind}/{name}'], needs)
        for kind in ('images', 'annotations')
    )
    return paired(images, masks, taxonomy, ['.jpg'], {'.png': read_ids})


def camvid(root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
    """List a split of CamVid as in the SegNet tutorial: ``<split>/*`` and ``<split>annot/*.png``."""
    needs = f'CamVid needs {split}/ and {split}annot/ in {root}'
    images, masks = (first_folder(root, [name], needs) for name in (split, f'{split}annot'))
    return paired(images, masks, taxonomy, SUFFIXES, {'.png': read_ids})


def cityscapes(root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
    """List a split of Cityscapes: leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip."""
    needs = f'Cityscapes needs leftImg8bit/{split}/ and gtFine/{split}/ in {root}'
    images, masks = (
        first_folder(root, [f'{kind}/{split}'], needs) for kind in ('leftImg8bit', 'gtFine')
    )
    readers = {'_gtFine_labelIds.png': read_ids, '_gtFine_labelTrainIds.png': read_labels}
    return paired(images, masks, taxonomy, ['_leftImg8bit.png'], readers)


def coco_stuff(root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
    """List a split of COCO-Stuff (164k): COCO 2017 and stuffthingmaps_trainval2017.zip."""
    name = {'train': 'train2017', 'val': 'val2017'}.get(split, split)
    archive = 'stuffthingmaps_trainval2017'
    needs = (
        f'COCO-Stuff needs images/{name}/ in {root}, and annotations/{name}/ or {archive}/{name}/'
    )
    images = first_folder(root, [f'images/{name}', name], needs)
    folders = ('annotations', archive, f'annotations/{archive}')
    masks = first_folder(root, [f'{folder}/{name}' for folder in folders], needs)
    # some tools write masks of the 171 class ids beside the archive's
    readers = {'.png': read_ids, '_labelTrainIds.png': read_labels}
    return paired(images, masks, taxonomy, ['.jpg'], readers)


LAYOUTS: Mapping[str, Layout] = {
    'ade20k': ade20k,
    'camvid': camvid,
    'cityscapes': cityscapes,
    'coco_stuff': coco_stuff,
    'folder': folder,
    'pascal_context_59': pascal_context,
    'pascal_context_60': pascal_context,
}
