"""Write taxonomies as JSON or a legend, and labels as PNGs with a palette."""

from __future__ import annotations

import io
import json
from pathlib import Path

from PIL import Image

from lemore_core.common.errors import LemoreError
from lemore_core.common.files import write_whole
from lemore_core.images.files import encode_image, write_image
from lemore_core.images.render import Labels, legend
from lemore_core.taxonomy import Taxonomy

LEGEND_WIDTH = 960


class PaletteError(LemoreError):
    """A file type that taxonomies are not written in."""


def export_taxonomy(taxonomy: Taxonomy, path: Path) -> None:
    """Write a taxonomy in the format of the suffix: .json, or .png for a legend."""
    suffix = path.suffix.lower()
    if suffix == '.json':
        write_whole(path, json.dumps(taxonomy.to_dict(), indent=2) + '\n')
    elif suffix == '.png':
        write_image(path, legend(taxonomy, LEGEND_WIDTH))
    else:
        msg = f'{path} ends in {path.suffix!r}, taxonomies are written as .json, .png'
        raise PaletteError(msg)


def write_labels(path: Path, labels: Labels, taxonomy: Taxonomy) -> None:
    """Write labels (H, W) as a PNG of class ids that viewers show in the classes' colours.

    uint16 labels (more than 255 classes) are plain grey: a palette has 256 entries.
    """
    if labels.dtype != 'uint8':
        write_whole(path, encode_image(labels, '.png'))
        return
    image, content = Image.fromarray(labels), io.BytesIO()
    image.putpalette(taxonomy.palette.tobytes())
    image.save(content, 'png', compress_level=1)
    write_whole(path, content.getvalue())
