"""``lemore predict``. Exit status: 3 where a part of the inputs could not be read."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_core.cli.arguments import SEGMENTER, count, declare, image_bar, load_segmenter, share
from lemore_core.common.errors import counted
from lemore_core.common.limits import ROTATIONS

if TYPE_CHECKING:
    from lemore_core.segmenter import Segmenter
    from lemore_core.sources import Source

INCOMPLETE = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        'labels/*.png hold class ids, with the colours as a palette: read them with Pillow, '
        'np.array(Image.open(file)); OpenCV turns them into colours.'
    )
    text = 'images, folders with all below, videos, bags, or numbers of cameras'
    parser.add_argument('inputs', nargs='+', help=text)
    parser.add_argument(
        '--output', '-o', type=Path, required=True, help='folder for the results, or one .mp4'
    )
    parser.add_argument('--alpha', type=share, default=0.5, help='weight of the colours, 0.5')
    parser.add_argument('--frames', type=count, help='take only so many of each drive')
    parser.add_argument('--no-legend', action='store_true', help='leave the legend out')
    text = 'degrees clockwise that make the images upright before the network sees them'
    parser.add_argument('--rotate', type=int, choices=ROTATIONS, default=0, help=text)
    declare(parser, 'bit-depth', 'max-pixels', *SEGMENTER)
    # labels recorded in a bag come before the default model, not before one that is named
    parser.set_defaults(model=None)


def run(arguments: argparse.Namespace) -> None:
    """Write labels, overlays and videos, with a progress bar."""
    from lemore_core.common.files import hold

    is_video = arguments.output.suffix == '.mp4'
    with nullcontext() if is_video else hold(arguments.output):
        _predict(arguments)


def _predict(arguments: argparse.Namespace) -> None:
    from lemore_core.familiarity import SceneLog
    from lemore_core.predict import VIDEO, PredictError, check_names, predict

    sources = open_inputs(arguments)
    check_names(sources, arguments.output)
    segmenter = load_for(sources, arguments)
    images = unlabelled = 0
    scenes = SceneLog()
    for source in sources:
        steps = predict(
            segmenter,
            source,
            arguments.output,
            alpha=arguments.alpha,
            frames=arguments.frames,
            rotation=arguments.rotate,
            has_legend=not arguments.no_legend,
            observe=scenes.add,
        )
        try:
            for frame in image_bar(steps, source.name, source.expected, arguments.frames):
                images += 1
                unlabelled += source.taxonomy is not None and frame.labels is None
        except PredictError as error:
            if not images and source is sources[-1]:
                raise
            source.errors = source.errors or Counter([str(error)])
    output = arguments.output
    results = output if output.suffix == VIDEO else f'{output / "labels"}, {output / "overlay"}'
    print(f'{counted(images, "image")}: {results}')
    if unlabelled:
        print(f'{counted(unlabelled, "image")} without recorded labels')
    if scenes.unfamiliar:
        print(f'warning: {scenes}', file=sys.stderr)
    exit_if_incomplete(sources)


def open_inputs(arguments: argparse.Namespace) -> list[Source]:
    """Open the inputs, with the labels that were recorded in them unless a model is named."""
    from lemore_core.sources import open_sources

    has_model = arguments.model is not None
    arguments.model = arguments.model or 'tiny'
    limits = arguments.max_pixels, arguments.bit_depth
    return open_sources(arguments.inputs, *limits, with_labels=not has_model)


def load_for(sources: Sequence[Source], arguments: argparse.Namespace) -> Segmenter | None:
    """Load the model, if there is a source without labels, and print whose labels are used."""
    for source in sources:
        if source.taxonomy is not None:
            print(f'{source.name}: labels as recorded; those of a network with --model')
    if all(source.taxonomy is not None for source in sources):
        return None
    _log_exports()
    segmenter = load_segmenter(arguments)
    print(f'labels of the model {segmenter.card.name} ({segmenter.taxonomy.name})')
    return segmenter


def exit_if_incomplete(sources: Sequence[Source]) -> None:
    """Print what could not be read, and exit with status 3 if there is any."""
    from lemore_core.sources import error_lines

    if lines := error_lines(sources):
        print('\n'.join(lines), file=sys.stderr)
        sys.exit(INCOMPLETE)


def _log_exports() -> None:
    """Log exports to the terminal: they take seconds."""
    log = logging.getLogger('lemore_core.export')
    log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(logging.StreamHandler())
