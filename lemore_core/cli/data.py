"""``lemore data``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_core.common.errors import counted

if TYPE_CHECKING:
    from lemore_core.data.check import CheckResult
    from lemore_core.data.samples import Sample

SPLITS = ('train', 'val')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    from lemore_core.data.datasets import DATASETS

    actions = parser.add_subparsers(dest='action', required=True, metavar='action')
    check = actions.add_parser('check', help='read every image and mask, and count the classes')
    check.add_argument('--dataset', required=True, help=', '.join(DATASETS))
    check.add_argument('--data', type=Path, required=True, help='its folder')
    check.add_argument('--split', action='append', help='to check (repeat); default train and val')
    split = actions.add_parser('split', help='divide your own images and masks into train and val')
    split.add_argument('images', type=Path, help='folder of images')
    split.add_argument('masks', type=Path, help='folder of masks: a/1.png for a/1.jpg')
    text = 'class table: .yaml file, or .txt file of names'
    split.add_argument('--classes', required=True, help=text)
    split.add_argument('--output', '-o', type=Path, required=True, help='folder of the data set')
    for kind, name in (('image', '_image'), ('mask', '_label')):
        text = f"end of the {kind}s' names, such as {name} of a{name}.png"
        split.add_argument(f'--{kind}-suffix', default='', help=text)
    text = 'drive for val (repeat); default the last ones that make a fifth of the images'
    split.add_argument('--hold-out', action='append', default=[], metavar='DRIVE', help=text)
    back = actions.add_parser('import', help='bring masks back that were corrected in another tool')
    text = 'of CVAT, Label Studio, labelme or COCO: a file, a folder, or a .zip'
    back.add_argument('export', type=Path, help=text)
    text = 'the data set whose images it is of, as lemore bag pick wrote it; masks may be missing'
    back.add_argument('--data', type=Path, required=True, help=text)
    back.add_argument('--output', '-o', type=Path, required=True, help='folder of the data set')
    text = 'also write them as ground truth of this bag, see lemore bag truth (repeat)'
    back.add_argument(
        '--into-bag', type=Path, action='append', default=[], metavar='BAG', help=text
    )


def run(arguments: argparse.Namespace) -> None:
    """Check or divide a data set, or import corrected masks; the exit status is 3 for left out files."""
    if arguments.action == 'check':
        _check(arguments)
        return
    if arguments.action == 'import':
        _import(arguments)
        return
    from lemore_core.data.check import some
    from lemore_core.data.split import split
    from lemore_core.taxonomy import load_taxonomy

    given, taxonomy = arguments, load_taxonomy(arguments.classes)
    suffixes = given.image_suffix, given.mask_suffix
    folders = given.images, given.masks
    lines, missing = split(*folders, taxonomy, given.output, given.hold_out, suffixes)
    print(*lines, sep='\n')
    if missing:
        left = f'{counted(len(missing), "file")} without a partner left out:'
        print(left, *some(missing), sep='\n', file=sys.stderr)
        sys.exit(3)


def _import(arguments: argparse.Namespace) -> None:
    """Write the data set; the exit status is 3 where an image has no mask."""
    from lemore_core.cli.main import main
    from lemore_core.data.annotation import import_annotations

    output = arguments.output
    number, missing = import_annotations(arguments.export, arguments.data, output)
    print(f'{output}: {counted(number, "image")} with corrected masks')
    statuses, data = list[int](), ('--data', str(output))
    for bag in arguments.into_bag:
        path = bag.resolve()
        into = output / f'{path.name if path.is_dir() else path.stem}_ground_truth'
        try:
            statuses.append(main(['bag', 'truth', str(bag), *data, '-o', str(into)]))
        except SystemExit as stop:
            statuses.append(int(stop.code or 0))
    if missing:
        left = f'{counted(len(missing), "image")} of {arguments.data} without a mask'
        print(f'{left} left out: {missing[0]}, …', file=sys.stderr)
        statuses.append(3)
    if any(statuses):
        sys.exit(min(filter(None, statuses)))  # a failure before something left out


def _check(arguments: argparse.Namespace) -> None:
    """Check the splits, print the findings, and raise DataError if there are errors."""
    from lemore_core.data.check import check, lack_of_classes, some
    from lemore_core.data.datasets import RECORDED, open_dataset
    from lemore_core.data.drives import drives, rule, shared_drives
    from lemore_core.data.samples import DataError

    dataset = open_dataset(arguments.dataset, arguments.data)
    splits = arguments.split or SPLITS
    listed: dict[str, list[Sample]] = {}
    errors = 0
    for split in splits:
        try:
            samples = listed[split] = dataset.listing(split)
        except DataError as error:
            errors += 1
            print(f'error: {split}: {error}', file=sys.stderr)
            continue
        result = check(samples, split)
        if not result.errors and (lack := lack_of_classes(result, samples, split)):
            result.errors.append(lack)
        errors += len(result.errors)
        _print_table(split, samples, result)
        for kind, messages in (('error', result.errors), ('warning', result.warnings)):
            for message in some(messages):
                print(f'{kind}: {message}', file=sys.stderr)
    if dataset.name in RECORDED and set(SPLITS) <= set(listed):
        print(rule(drives([*listed['train'], *listed['val']])))
        if message := shared_drives(listed['train'], listed['val']):
            print(f'warning: {message}', file=sys.stderr)
    if errors:
        msg = f'{counted(errors, "error")} in {", ".join(splits)}'
        raise DataError(msg)


def _print_table(split: str, samples: list[Sample], result: CheckResult) -> None:
    from lemore_core.data.samples import read_black_and_white

    taxonomy = samples[0].taxonomy
    total = max(1, int(result.pixels.sum()))
    sizes = [f'{w}x{h} pixels' for h, w in sorted(result.sizes, key=lambda size: size[0] * size[1])]
    text = sizes[0] if sizes else 'none readable'
    if len(sizes) > 1:
        text = f'{len(sizes)} sizes from {sizes[0]} to {sizes[-1]}'
    text += ', masks in black and white' * (samples[0].reader is read_black_and_white)
    print(f'{split}: {counted(len(samples), "image")}, {text}')
    print(f'{"id":>5}  {"share":>8}  {"images":>7}  class')
    for index, name in enumerate(taxonomy.classes):
        share = result.pixels[index] / total
        print(f'{index:>5}  {share:>8.3%}  {result.masks[index]:>7}  {name}')
    unlabelled = result.pixels[taxonomy.unlabelled] / total
    print(f'{"":>5}  {unlabelled:>8.3%}  {"":>7}  unlabelled')
