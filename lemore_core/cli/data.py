"""``lemore data``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_core.common.errors import counted

if TYPE_CHECKING:
    from lemore_core.data.check import CheckResult
    from lemore_core.data.datasets import Dataset

SPLITS = ('train', 'val')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    from lemore_core.data.datasets import DATASETS

    actions = parser.add_subparsers(dest='action', required=True, metavar='action')
    check = actions.add_parser('check', help='read every image and mask, and count the classes')
    check.add_argument('--dataset', required=True, help=', '.join(DATASETS))
    check.add_argument('--data', type=Path, required=True, help='its folder')
    check.add_argument(
        '--split', action='append', help='a split to check, may be repeated; default train and val'
    )
    check.add_argument('--workers', type=int, help="threads; default the processor's cores")
    split = actions.add_parser('split', help='divide your own images and masks into train and val')
    split.add_argument('images', type=Path, help='folder of images')
    split.add_argument(
        'masks', type=Path, help='folder of masks of the same names: a/1.jpg, a/1.png'
    )
    split.add_argument('--classes', type=Path, required=True, help='YAML file of the class table')
    split.add_argument('--output', '-o', type=Path, required=True, help='folder of the data set')
    split.add_argument(
        '--hold-out',
        action='append',
        default=[],
        metavar='DRIVE',
        help='drive for val (repeat); default the last ones that make a fifth of the images',
    )


def run(arguments: argparse.Namespace) -> None:
    """Do what was asked for.

    Raises:
        DataError: the data set has errors; they have been printed.
    """
    if arguments.action == 'check':
        _check_splits(arguments)
        return
    from lemore_core.data.split import split

    found = split(
        arguments.images,
        arguments.masks,
        arguments.classes,
        arguments.output,
        arguments.hold_out,
    )
    for part, names in found.items():
        print(f'{part:<6} {", ".join(names)}')


def _check_splits(arguments: argparse.Namespace) -> None:
    """Check the splits and print what was found."""
    from lemore_core.data.datasets import open_dataset
    from lemore_core.data.errors import DataError

    if arguments.workers is not None and arguments.workers < 1:
        msg = f'--workers is {arguments.workers}, it must be at least 1'
        raise DataError(msg)
    dataset = open_dataset(arguments.dataset, arguments.data)
    splits = arguments.split or SPLITS
    results = {split: _check(dataset, split, arguments.workers) for split in splits}
    errors = sum(1 if one is None else len(one.errors) for one in results.values())
    if results.get('train') and results.get('val'):
        _warn_of_leaks(dataset, results)
    if errors:
        msg = f'{errors} {"errors" if errors > 1 else "error"} in {", ".join(splits)}'
        raise DataError(msg)


def _check(dataset: Dataset, split: str, workers: int | None) -> CheckResult | None:
    """Print what is in a split and return it, None where there is no split."""
    from tqdm import tqdm

    from lemore_core.data.check import check, some
    from lemore_core.data.errors import DataError

    try:
        samples = dataset.listing(split)
    except DataError as error:
        print(f'error: {split}: {error}', file=sys.stderr)
        return None
    with tqdm(total=len(samples), desc=split, unit='image', disable=None) as bar:
        report = check(samples, bar.update, workers)
    _print_table(split, report)
    for kind, messages in (('error', report.errors), ('warning', report.warnings)):
        for message in some(messages):
            print(f'{kind}: {message}', file=sys.stderr)
    return report


def _warn_of_leaks(dataset: Dataset, results: Mapping[str, CheckResult | None]) -> None:
    """Warn of validation images that are near training images."""
    from lemore_core.data.drives import RECORDED, near_duplicates, shared_drives

    train, val = results['train'], results['val']
    assert train is not None
    assert val is not None
    listed = {split: dataset.listing(split) for split in ('train', 'val')}
    found = []
    if dataset.name in RECORDED:
        found += shared_drives(listed['train'], listed['val'], dataset.root)
    places = near_duplicates(train.hashes, val.hashes)
    if places:
        first = listed['val'][places[0]].image
        found.append(f'{len(places)} images of val look like one of train, the first is {first}')
    for message in found:
        print(f'warning: {message}', file=sys.stderr)


def _print_table(split: str, report: CheckResult) -> None:
    total = max(1, report.total_pixels)
    print(f'{split}: {counted(report.samples, "image")}, {_sizes(report)}')
    print(f'{"id":>5}  {"share":>8}  {"images":>7}  class')
    rows = zip(report.taxonomy.classes, report.pixels, report.images, strict=True)
    for index, (name, pixels, images) in enumerate(rows):
        print(f'{index:>5}  {pixels / total:>8.3%}  {images:>7}  {name}')
    print(f'{"":>5}  {report.unlabelled / total:>8.3%}  {"":>7}  unlabelled')


def _sizes(report: CheckResult) -> str:
    """Return the one size, the smallest and largest sides of several, or that there is none."""
    if not report.sizes:
        return 'none readable'
    if len(report.sizes) == 1:
        ((height, width),) = report.sizes
        return f'{width}x{height} pixels'
    heights, widths = zip(*report.sizes, strict=True)
    return (
        f'{min(widths)} to {max(widths)} pixels wide and {min(heights)} to {max(heights)} high, '
        f'{len(report.sizes)} sizes'
    )
