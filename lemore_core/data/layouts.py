"""List the samples of the data sets, each in the layout of its archive.

A data set with a built-in taxonomy and no entry in ``LAYOUTS`` lies as a user's own does:
``images/<split>/**`` and ``masks/<split>/**`` have the same names, ``classes.yaml`` holds the
classes; a mask holds ids, or the classes' colours as RGB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from glob import iglob
from pathlib import Path

from lemore_core.data.readers import read_ids, read_ids_or_colors, read_labels
from lemore_core.data.samples import DataError, MaskReader, Sample
from lemore_core.data.soft import SUFFIX
from lemore_core.images.files import SUFFIXES
from lemore_core.taxonomy import Taxonomy

CLASSES = 'classes.yaml'
MASKS = ('.png', '.bmp', '.tif', '.tiff')  # lossless formats
VOC = ('', 'VOC2010/', 'VOCdevkit/VOC2010/')
VOC_LISTS = ('ImageSets/SegmentationContext', 'ImageSets/Main')

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


def pascal_context(root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
    """List a split of PASCAL Context: VOC2010, and the masks of mmsegmentation's converter."""
    needs = (
        f'PASCAL Context needs JPEGImages/ and SegmentationClassContext/*.png in {root} or its '
        'VOCdevkit/VOC2010/ (masks of the 59 classes, as mmsegmentation makes them)'
    )
    images = first_folder(root, [f'{name}JPEGImages' for name in VOC], needs)
    home = images.parent
    masks = first_folder(home, ['SegmentationClassContext'], needs)
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


LAYOUTS: Mapping[str, Layout] = {
    'ade20k': ade20k,
    'camvid': camvid,
    'cityscapes': cityscapes,
    'coco_stuff': coco_stuff,
    'folder': folder,
    'pascal_context_59': pascal_context,
    'pascal_context_60': pascal_context,
}
