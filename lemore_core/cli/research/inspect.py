"""``lemore research inspect``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_core.cli.arguments import add_model_arguments, add_size_arguments, requested_size

if TYPE_CHECKING:
    from lemore_core.research.inspection import Inspection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('image', type=Path, help='the image to look at')
    parser.add_argument('--output', '-o', type=Path, required=True, help='folder for the sheets')
    parser.add_argument('--encoder', metavar='STAGE.INDEX', help='draw only this one, such as 3.2')
    parser.add_argument('--block', type=int, help='draw only this bottleneck block, from 1')
    parser.add_argument(
        '--point',
        type=int,
        nargs=2,
        metavar=('X', 'Y'),
        help='pixel whose attention is drawn (the centre)',
    )
    add_model_arguments(parser)
    add_size_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the sheets and print how strong the views and how open the gates are."""
    from lemore_core.research.inspection import inspect_image, read_image, write_sheets
    from lemore_core.segmenter import resolve_checkpoint
    from lemore_core.taxonomy import load_taxonomy

    inspection = inspect_image(
        resolve_checkpoint(arguments.model, arguments.dataset),
        read_image(arguments.image),
        point=tuple(arguments.point) if arguments.point else None,
        encoder=arguments.encoder,
        block=arguments.block,
        taxonomy=load_taxonomy(arguments.dataset) if arguments.dataset else None,
        network_size=requested_size(arguments),
    )
    _report(inspection)
    for path in write_sheets(inspection, arguments.output):
        print(path)


def _report(inspection: Inspection) -> None:
    for views in inspection.encoders:
        shares = ', '.join(f'{view} {share:.1%}' for view, share in views.strengths.items())
        print(f'encoder {views.name:<5} {shares}')
    means = ', '.join(f'{gate.mean():.2f}' for gate in inspection.gates)
    print(f'gates         {means}')
    if inspection.missing:
        print(f'not in this network: {", ".join(inspection.missing)}')
