"""``lemore taxonomy``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lemore_core.common.files import write_whole
from lemore_core.taxonomy import BUILT_IN, Taxonomy, TaxonomyError, load_taxonomy

LEGEND_WIDTH = 960


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='action')
    show = actions.add_parser('show', help='print ids, colours and names')
    export = actions.add_parser('export', help='write a JSON file or a legend')
    for action in (show, export):
        action.add_argument('name', help=f'{", ".join(BUILT_IN)}, or the path of a YAML file')
    export.add_argument('--output', '-o', type=Path, required=True, help='a .json or .png file')


def run(arguments: argparse.Namespace) -> None:
    """Print the table, or write it."""
    taxonomy = load_taxonomy(arguments.name)
    if arguments.action == 'export':
        _export(taxonomy, arguments.output)
        return
    for index, (name, color) in enumerate(zip(taxonomy.classes, taxonomy.colors, strict=True)):
        print(f'{index:>5}  #{bytes(color).hex()}  {name}')


def _export(taxonomy: Taxonomy, path: Path) -> None:
    if path.suffix == '.json':
        write_whole(path, json.dumps(taxonomy.to_dict(), indent=2) + '\n')
    elif path.suffix == '.png':
        from lemore_core.images.files import write_image
        from lemore_core.images.render import legend

        write_image(path, legend(taxonomy, LEGEND_WIDTH))
    else:
        msg = f'{path} ends in {path.suffix!r}, taxonomies are written as .json, .png'
        raise TaxonomyError(msg)
