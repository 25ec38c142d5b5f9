"""``lemore evaluate``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lemore_core.cli.arguments import add_segmenter_arguments, load_segmenter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_segmenter_arguments(parser)
    parser.add_argument(
        '--data', type=Path, required=True, help='folder with <split>/ and <split>annot/'
    )
    parser.add_argument('--split', default='val', help='val')
    parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> None:
    """Print mIoU, pixel accuracy and the IoU of each class."""
    from tqdm import tqdm

    from lemore_core.data.camvid import list_samples
    from lemore_core.evaluation.evaluate import evaluate

    samples = list_samples(arguments.data, arguments.split)
    segmenter = load_segmenter(arguments)
    figures = evaluate(segmenter, tqdm(samples, unit='image', disable=None)).figures(
        segmenter.taxonomy.classes
    )
    values = {
        'model': segmenter.card.name,
        'split': arguments.split,
        'images': len(samples),
        'backend': f'{segmenter.backend} {segmenter.device}',
        **figures,
    }
    if arguments.json:
        print(json.dumps(values))
        return
    iou = values.pop('iou')
    for name, value in {**values, **iou}.items():
        print(f'{name:<16} {value}')
