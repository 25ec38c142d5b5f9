"""COCO-Stuff (164k): COCO's images of 2017 and the masks of stuffthingmaps_trainval2017.zip."""

from __future__ import annotations

from pathlib import Path

from lemore_core.data.layouts.pairs import first_folder, paired
from lemore_core.data.readers import read_ids, read_labels
from lemore_core.data.samples import Sample
from lemore_core.taxonomy import Taxonomy

FOLDERS = {'train': 'train2017', 'val': 'val2017'}
# some tools write masks of the 171 class ids beside those of the archive
READERS = {'.png': read_ids, '_labelTrainIds.png': read_labels}


def coco_stuff(root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
    """List a split, see :class:`~lemore_core.data.layouts.Layout`."""
    name = FOLDERS.get(split, split)
    needs = (
        f'COCO-Stuff needs images/{name}/ in {root}, '
        f'and annotations/{name}/ or stuffthingmaps_trainval2017/{name}/'
    )
    images = first_folder(root, [f'images/{name}', name], needs)
    masks = first_folder(
        root,
        [
            f'{folder}/{name}'
            for folder in (
                'annotations',
                'stuffthingmaps_trainval2017',
                'annotations/stuffthingmaps_trainval2017',
            )
        ],
        needs,
    )
    return paired(images, masks, taxonomy, image_ends=['.jpg'], mask_readers=READERS)
