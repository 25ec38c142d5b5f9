"""ADE20K as ADEChallengeData2016.zip lays it out."""

from __future__ import annotations

from pathlib import Path

from lemore_core.data.layouts.pairs import first_folder, paired
from lemore_core.data.readers import read_ids
from lemore_core.data.samples import Sample
from lemore_core.taxonomy import Taxonomy

ARCHIVE = 'ADEChallengeData2016'
FOLDERS = {'train': 'training', 'val': 'validation'}


def ade20k(root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
    """List a split, see :class:`~lemore_core.data.layouts.Layout`."""
    name = FOLDERS.get(split, split)
    needs = f'ADE20K needs images/{name}/ and annotations/{name}/ in {root} or its {ARCHIVE}/'
    found = [
        first_folder(root, [f'{kind}/{name}', f'{ARCHIVE}/{kind}/{name}'], needs)
        for kind in ('images', 'annotations')
    ]
    images, masks = found
    return paired(images, masks, taxonomy, image_ends=['.jpg'], mask_readers={'.png': read_ids})
