"""Cityscapes as leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip lay it out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lemore_core.common.limits import MAX_PIXELS
from lemore_core.data.errors import DataError
from lemore_core.data.layouts.pairs import first_folder, paired
from lemore_core.data.readers import read_ids, read_labels
from lemore_core.data.samples import Sample
from lemore_core.taxonomy import Labels, Taxonomy

UNLABELED = 0
NOT_DRAWN = -1
# the labels that are no class of the evaluation
VOID = {
    'unlabeled': UNLABELED,
    'ego vehicle': 1,
    'rectification border': 2,
    'out of roi': 3,
    'static': 4,
    'dynamic': 5,
    'ground': 6,
    'parking': 9,
    'rail track': 10,
    'guard rail': 14,
    'bridge': 15,
    'tunnel': 16,
    'polegroup': 18,
    'caravan': 29,
    'trailer': 30,
    'license plate': NOT_DRAWN,
}


def cityscapes(root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
    """List a split, see :class:`~lemore_core.data.layouts.Layout`."""
    needs = f'Cityscapes needs leftImg8bit/{split}/ and gtFine/{split}/ in {root}'
    return paired(
        first_folder(root, [f'leftImg8bit/{split}'], needs),
        first_folder(root, [f'gtFine/{split}'], needs),
        taxonomy,
        image_ends=['_leftImg8bit.png'],
        mask_readers={
            '_gtFine_labelIds.png': read_ids,
            '_gtFine_polygons.json': read_polygons,
            '_gtFine_labelTrainIds.png': read_labels,
        },
    )


def read_polygons(path: Path, taxonomy: Taxonomy) -> Labels:
    """Draw the polygons of an annotation as the data set's own tools do (json2labelImg).

    Each polygon is drawn over those before it in the file, with Pillow, whose edges the official
    masks have.

    Raises:
        DataError: the file is no annotation, or Pillow is missing.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        msg = f'{path} is drawn with Pillow: pip install pillow'
        raise DataError(msg) from error
    try:
        annotation = json.loads(path.read_bytes())
        size = (int(annotation['imgWidth']), int(annotation['imgHeight']))
        if size[0] * size[1] > MAX_PIXELS:
            msg = f'{size[0]}x{size[1]} pixels, allowed: up to {MAX_PIXELS}'
            raise ValueError(msg)  # noqa: TRY301 - as any other content that is none
        image = Image.new('L', size, UNLABELED)
        draw = ImageDraw.Draw(image)
        for value, polygon in _polygons(annotation, taxonomy):
            draw.polygon(polygon, fill=value)
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        msg = f'{path} is no annotation of Cityscapes ({type(error).__name__}: {error})'
        raise DataError(msg) from error
    return taxonomy.encode(np.asarray(image))


def _polygons(
    annotation: dict[str, Any], taxonomy: Taxonomy
) -> Iterator[tuple[int, list[tuple[float, float]]]]:
    """Yield the label id and the corners of what is to be drawn, in the order of the file."""
    ids = {name: ids[0] for name, ids in zip(taxonomy.classes, taxonomy.disk_ids, strict=True)}
    ids |= VOID
    for shape in annotation['objects']:
        if shape.get('deleted'):
            continue
        label = shape['label']
        if label not in ids:
            label = label.removesuffix('group')
        if ids[label] != NOT_DRAWN:
            yield ids[label], [(x, y) for x, y in shape['polygon']]
