"""Where the files of a data set lie: one file for each layout, and which data set has which.

A data set with a built-in taxonomy and no line here lies as a user's own does, see :mod:`.folder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from lemore_core.data.layouts.ade20k import ade20k
from lemore_core.data.layouts.camvid import camvid
from lemore_core.data.layouts.cityscapes import cityscapes
from lemore_core.data.layouts.coco_stuff import coco_stuff
from lemore_core.data.layouts.folder import folder
from lemore_core.data.layouts.pascal_context import pascal_context
from lemore_core.data.samples import Sample
from lemore_core.taxonomy import Taxonomy

__all__ = ['LAYOUTS', 'Layout', 'folder']


class Layout(Protocol):
    """Lists the samples of a split that lies in a layout."""

    def __call__(self, root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
        """Return every image and every mask of the split, by name.

        Where an image has no mask or a mask no image, the sample holds the path where the missing
        one would be.

        Raises:
            DataError: the folders are missing or empty.
        """


LAYOUTS: Mapping[str, Layout] = {
    'ade20k': ade20k,
    'camvid': camvid,
    'cityscapes': cityscapes,
    'coco_stuff': coco_stuff,
    'folder': folder,
    'pascal_context_59': pascal_context,
    'pascal_context_60': pascal_context,
}
