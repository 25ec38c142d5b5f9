"""Taxonomies and labels for other programs: JSON, GIMP palettes, a legend, PNGs with a palette."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

from lemore_core.common.errors import LemoreError
from lemore_core.common.files import write_whole
from lemore_core.images.files import encode_image, write_image
from lemore_core.images.render import Labels, legend
from lemore_core.taxonomy import Taxonomy

LEGEND_WIDTH = 960
PNG_HEADER = slice(8, 33)  # of a PNG file: the chunk IHDR, after the signature
PNG_COLOR_TYPE, BY_PALETTE = 17, 3  # the byte of that chunk that says what pixels are


class PaletteError(LemoreError):
    """A file type that taxonomies are not written in."""


def export_taxonomy(taxonomy: Taxonomy, path: Path) -> None:
    """Write a taxonomy in the format that the suffix names: .json, .gpl (GIMP) or .png (legend).

    Raises:
        PaletteError: the suffix is another.
        OSError: the file cannot be written.
    """
    write = _FORMATS.get(path.suffix.lower())
    if write is None:
        msg = f'{path} ends in {path.suffix!r}, taxonomies are written as {", ".join(_FORMATS)}'
        raise PaletteError(msg)
    write(taxonomy, path)


def write_labels(path: Path, labels: Labels, taxonomy: Taxonomy) -> None:
    """Write labels (H, W) as a PNG of class ids that viewers show in the classes' colours.

    uint16 labels (more than 255 classes) are plain grey: a palette has 256 entries.

    Raises:
        OSError: the file cannot be written.
    """
    content = encode_image(labels, '.png')
    if labels.dtype == 'uint8':
        content = _with_palette(content, taxonomy.palette.tobytes())
    write_whole(path, content)


def _with_palette(png: bytes, colors: bytes) -> bytes:
    # OpenCV reads palettes but writes none, and Pillow is not installed on every robot
    header = bytearray(png[PNG_HEADER][:-4])
    header[PNG_COLOR_TYPE] = BY_PALETTE
    palette = len(colors).to_bytes(4, 'big') + b'PLTE' + colors
    chunks = [chunk + zlib.crc32(chunk[4:]).to_bytes(4, 'big') for chunk in (header, palette)]
    return b''.join([png[: PNG_HEADER.start], *chunks, png[PNG_HEADER.stop :]])


def _write_json(taxonomy: Taxonomy, path: Path) -> None:
    write_whole(path, json.dumps(taxonomy.to_dict(), indent=2) + '\n')


def _write_gimp(taxonomy: Taxonomy, path: Path) -> None:
    lines = ['GIMP Palette', f'Name: {taxonomy.name}', '#']
    for (red, green, blue), name in zip(taxonomy.colors, taxonomy.classes, strict=True):
        lines.append(f'{red:3} {green:3} {blue:3}\t{name}')
    write_whole(path, '\n'.join(lines) + '\n')


def _write_legend(taxonomy: Taxonomy, path: Path) -> None:
    write_image(path, legend(taxonomy, LEGEND_WIDTH))


_FORMATS: dict[str, Callable[[Taxonomy, Path], None]] = {
    '.json': _write_json,
    '.gpl': _write_gimp,
    '.png': _write_legend,
}
