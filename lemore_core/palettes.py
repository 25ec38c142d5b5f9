"""Taxonomies for other programs: JSON, GIMP palettes, a legend to print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from lemore_core.errors import LemoreError
from lemore_core.image_file import write_image
from lemore_core.render import legend
from lemore_core.system.files import write_whole
from lemore_core.taxonomy import Taxonomy

LEGEND_WIDTH = 960


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
