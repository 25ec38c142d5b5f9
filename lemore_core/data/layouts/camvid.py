"""CamVid as the SegNet tutorial lays it out: ``<split>/*`` and ``<split>annot/*.png``."""

from __future__ import annotations

from pathlib import Path

from lemore_core.data.layouts.pairs import first_folder, paired
from lemore_core.data.readers import read_ids
from lemore_core.data.samples import Sample
from lemore_core.images.files import SUFFIXES
from lemore_core.taxonomy import Taxonomy


def camvid(root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
    """List a split, see :class:`~lemore_core.data.layouts.Layout`."""
    needs = f'CamVid needs {split}/ and {split}annot/ in {root}'
    return paired(
        first_folder(root, [split], needs),
        first_folder(root, [f'{split}annot'], needs),
        taxonomy,
        image_ends=SUFFIXES,
        mask_readers={'.png': read_ids},
    )
