"""Arguments that the commands which label bags share, and the options they describe."""

from __future__ import annotations

import argparse
import math

from lemore_core.cli.arguments import add_segmenter_arguments, requested_size
from lemore_ros.bags.segmentation.options import (
    COMPRESSIONS,
    DEFAULT_OUTPUTS,
    NODE,
    RECORDED,
    STORAGES,
    ModelOptions,
    SegmentOptions,
    resolved,
)


def add_labelling_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`labelling_options` reads."""
    what = parser.add_argument_group('what is labelled')
    what.add_argument('--topics', nargs='+', default=(), help='image topics; all that can be')
    what.add_argument('--rate', type=float, default=0.0, help='at most so many frames a second')
    what.add_argument('--start', type=float, default=0.0, help='seconds from the beginning')
    what.add_argument('--duration', type=float, default=math.inf, help='seconds')
    written = parser.add_argument_group('what is written')
    written.add_argument(
        '--outputs',
        default=','.join(DEFAULT_OUTPUTS),
        help=f'some of {", ".join(RECORDED)}, with commas between; {",".join(DEFAULT_OUTPUTS)}',
    )
    written.add_argument('--prefix', default=NODE, help=f'name of the results, {NODE}')
    written.add_argument('--only-results', action='store_true', help='without what was recorded')
    written.add_argument('--alpha', type=float, default=0.5, help="weight of the overlay's colors")
    written.add_argument('--storage', default=STORAGES[0], help=f'{" or ".join(STORAGES)}, mcap')
    written.add_argument(
        '--compression', default=COMPRESSIONS[0], help=f'{" or ".join(COMPRESSIONS)}, zstd'
    )
    written.add_argument(
        '--file-frames',
        type=int,
        default=0,
        help='about so many labelled frames a file; chosen by the length of the bag',
    )
    add_segmenter_arguments(parser)
    labels = parser.add_argument_group('labels')
    labels.add_argument('--batch', type=int, default=1, help='frames labelled by one run, 1')
    labels.add_argument(
        '--min-confidence', type=float, default=0.0, help='below it (0 to 1): unlabelled'
    )
    labels.add_argument('--class-groups', default='', help='groups of classes: a name, or a YAML')
    labels.add_argument(
        '--output-size', default='camera', help='of the labels: camera, network, or WIDTHxHEIGHT'
    )


def labelling_options(arguments: argparse.Namespace) -> SegmentOptions:
    """Return the options that the arguments describe.

    Raises:
        LemoreError: a value that is not allowed.

    """
    model = ModelOptions(
        model=resolved(arguments.model),
        dataset=resolved(arguments.dataset),
        backend=arguments.backend,
        device=arguments.device,
        precision=arguments.precision,
        size=requested_size(arguments),
        batch=arguments.batch,
        min_confidence=arguments.min_confidence,
        class_groups=resolved(arguments.class_groups),
        output_size=arguments.output_size,
    )
    return SegmentOptions(
        model,
        topics=tuple(arguments.topics),
        outputs=tuple(name for name in arguments.outputs.split(',') if name),
        prefix=arguments.prefix,
        only_results=arguments.only_results,
        rate_hz=arguments.rate,
        start_s=arguments.start,
        duration_s=arguments.duration,
        storage=arguments.storage,
        compression=arguments.compression,
        overlay_alpha=arguments.alpha,
        file_frames=arguments.file_frames,
    )
