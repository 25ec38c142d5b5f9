"""``lemore import``."""

from __future__ import annotations

import argparse
from pathlib import Path

from lemore_core.cli.arguments import declare, requested_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('file', type=Path, help='the .onnx file of any segmentation network')
    text = 'name or YAML file of the class table, in its order'
    parser.add_argument('--classes', required=True, help=text)
    parser.add_argument('--output', '-o', type=Path, required=True, help='the .onnx file to write')
    parser.add_argument('--layout', default='auto', choices=('auto', 'nhwc', 'nchw'))
    text = 'order that it was trained on; bgr for most of Caffe, OpenVINO and OpenCV'
    parser.add_argument('--channels', default='rgb', choices=('rgb', 'bgr'), help=text)
    for name, what in (('mean', 'subtracted from'), ('std', 'that divide')):
        text = (
            f"values {what} pixels of 0 to 255, ImageNet's by default, in this order whatever "
            '--channels; not for uint8 inputs'
        )
        parser.add_argument(f'--{name}', type=float, nargs=3, metavar=('R', 'G', 'B'), help=text)
    parser.add_argument('--logits', metavar='NAME', help='the output, where there are several')
    text = 'an image of the kind that it will see, to try it on'
    parser.add_argument('--image', type=Path, help=text)
    text = (
        'images of the kind that the network was trained on (files, folders, videos): what it is '
        'shown later is compared with them, docs/familiarity.md'
    )
    parser.add_argument('--reference', nargs='+', metavar='IMAGES', help=text)
    unknown = 'unknown: ask who made the network'
    parser.add_argument('--licence', default=unknown, help='terms of the weights')
    declare(parser, 'height', 'width')


def run(arguments: argparse.Namespace) -> None:
    """Write a foreign network as a file that is served like LeMoRe's own exports."""
    from lemore_core.checkpoint import store_scenes
    from lemore_core.common.files import write_whole
    from lemore_core.evaluation.scenes import reference_scenes
    from lemore_core.export import STREET, ExportError
    from lemore_core.export.descriptor import add_descriptor
    from lemore_core.export.importing import ImportOptions, import_onnx
    from lemore_core.images.files import read_image
    from lemore_core.segmenter import Segmenter
    from lemore_core.taxonomy import load_taxonomy

    if arguments.output.suffix != '.onnx':
        msg = f'{arguments.output} is no name of an ONNX file: give one that ends in .onnx'
        raise ExportError(msg)
    mean, std = (values and tuple(values) for values in (arguments.mean, arguments.std))
    size = requested_size(arguments)
    content, summary = import_onnx(
        arguments.file,
        load_taxonomy(arguments.classes),
        read_image(arguments.image or STREET),
        ImportOptions(arguments.layout, arguments.channels, mean, std, size, arguments.logits),
        licence=arguments.licence,
    )
    described = add_descriptor(content) if arguments.reference else None
    write_whole(arguments.output, described or content)
    print(f'{arguments.output}: {summary}')
    if described:
        scenes = reference_scenes(Segmenter.load(arguments.output), arguments.reference)
        store_scenes(arguments.output, scenes)
        print(f'familiarity: {scenes.images} reference images of {len(scenes.held_out)} parts')
    elif arguments.reference:
        print('no familiarity: the network has no convolutions of known sizes to compare by')
