"""``lemore export``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_core.cli.arguments import add_model_arguments, add_size_arguments, requested_size
from lemore_core.common.errors import LemoreError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CALIBRATION_IMAGES = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model_arguments(parser)
    add_size_arguments(parser)
    parser.add_argument('--output', '-o', type=Path, required=True, help='the .onnx file to write')
    parser.add_argument(
        '--int8',
        type=Path,
        metavar='FOLDER',
        help=f'quantise it, calibrated on {CALIBRATION_IMAGES} images of FOLDER; for TensorRT '
        '(slower on a CPU)',
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the serving graph for one network size."""
    from lemore_core.export.export import write_onnx
    from lemore_core.export.model_card import read_model_card
    from lemore_core.segmenter import resolve_checkpoint

    path = resolve_checkpoint(arguments.model, arguments.dataset)
    config = read_model_card(path).config
    height, width = requested_size(arguments) or (config.height, config.width)
    images = None if arguments.int8 is None else calibration_images(arguments.int8)
    write_onnx(path, arguments.output, height, width, calibration=images)
    precision = 'float32' if images is None else f'int8 by {len(images)} images'
    print(f'{arguments.output}: {width}x{height} pixels, {config.classes} classes, {precision}')


def calibration_images(folder: Path) -> list[NDArray[np.uint8]]:
    """Read images, RGB (H, W, 3) uint8, evenly from all that lie in a folder and below.

    Raises:
        LemoreError: there are none, or one is not readable.
    """
    from lemore_core.images.files import SUFFIXES, read_image

    paths = sorted(path for path in folder.rglob('*') if path.suffix.lower() in SUFFIXES)
    if not paths:
        msg = f'there is no image in {folder} to calibrate with'
        raise LemoreError(msg)
    count = min(CALIBRATION_IMAGES, len(paths))
    return [read_image(paths[i * len(paths) // count]) for i in range(count)]
