"""``lemore taxonomy``."""

from __future__ import annotations

import argparse
from pathlib import Path

from lemore_core.taxonomy import BUILT_IN, load_taxonomy


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
        from lemore_core.images.palettes import export_taxonomy

        export_taxonomy(taxonomy, arguments.output)
        return
    for index, (name, color) in enumerate(zip(taxonomy.classes, taxonomy.colors, strict=True)):
        print(f'{index:>5}  #{bytes(color).hex()}  {name}')
