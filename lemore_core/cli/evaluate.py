"""``lemore evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_core.cli.arguments import (
    add_json_argument,
    add_segmenter_arguments,
    count,
    listed,
    load_segmenter,
    print_json,
)

if TYPE_CHECKING:
    from lemore_core.data.datasets import Dataset
    from lemore_core.data.samples import Sample
    from lemore_core.evaluation.evaluate import EvaluationResult
    from lemore_core.evaluation.strategies import Views

TABLE = ('iou', 'accuracy')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_segmenter_arguments(parser)
    parser.add_argument('--data', type=Path, required=True, help='folder of the data set')
    parser.add_argument('--split', default='val', help='val')
    parser.add_argument('--limit', type=count, help='only so many images, the first ones')
    parser.add_argument('--drive', help='only the images of this drive, of train and val')
    parser.add_argument(
        '--map',
        metavar='FILE',
        help="class groups of the model's classes, named as the data set's: probabilities are summed",
    )
    parser.add_argument(
        '--ground-truth-groups',
        metavar='FILE',
        help="class groups of the data set's classes, of the same names in the same order",
    )
    add_json_argument(parser)
    views = parser.add_argument_group('views', 'whose probabilities are averaged')
    views.add_argument(
        '--window', type=int, nargs=2, metavar=('H', 'W'), help='sliding window, in image pixels'
    )
    views.add_argument(
        '--stride', type=int, nargs='+', metavar='N', help='of the window, one number or down right'
    )
    views.add_argument('--flip', action='store_true', help='add the mirror image')
    views.add_argument(
        '--scales', type=listed(float), default=[1.0], help='such as 0.5,0.75,1,1.25,1.5,1.75'
    )
    report = parser.add_argument_group('report')
    report.add_argument('--report', type=Path, metavar='FILE.html', help='write a report')
    report.add_argument(
        '--report-images', type=count, default=50, metavar='N', help='show the N worst images, 50'
    )


def run(arguments: argparse.Namespace) -> None:
    """Evaluate; print the figures, and write the report."""
    from tqdm import tqdm

    from lemore_core.data.datasets import OWN
    from lemore_core.evaluation import report
    from lemore_core.evaluation.evaluate import evaluate
    from lemore_core.evaluation.strategies import predictor_for
    from lemore_core.taxonomy import load_groups

    views = _views(arguments)
    if arguments.report is not None:
        report.check_requirements()
    dataset = _open_dataset(arguments)
    samples = _samples(arguments, dataset)[: arguments.limit]
    if arguments.dataset == OWN or arguments.ground_truth_groups or arguments.map:
        # a layout and no class table: the model keeps its own
        arguments.dataset = ''
    segmenter = load_segmenter(arguments)
    merged = load_groups(arguments.map, segmenter.taxonomy) if arguments.map else None
    predictor = predictor_for(segmenter, views, merged)
    worst = report.worst_images(arguments.report_images, predictor.taxonomy)
    observe = None if arguments.report is None else worst
    result = evaluate(predictor, tqdm(samples, unit='image', disable=None), observe)
    facts = {
        'model': segmenter.card.name,
        'dataset': dataset.taxonomy.name,
        'split': f'drive {arguments.drive}' if arguments.drive else arguments.split,
        'images': len(samples),
        'backend': f'{segmenter.status.backend} {segmenter.status.device}',
        'views': views.describe(),
    }
    if arguments.report is not None:
        title = f'{facts["model"]} on {facts["dataset"]} {facts["split"]}'
        texts = {key: str(value) for key, value in facts.items()}
        page = report.evaluation_report(result, worst.images, title=title, facts=texts)
        report.write_report(page, arguments.report)
    if arguments.json:
        print_json({**facts, **result.to_dict()})
    else:
        _print(facts, result, arguments.report)


def _samples(arguments: argparse.Namespace, dataset: Dataset) -> list[Sample]:
    """Return the samples of the split or drive, in groups of their classes where given."""
    from lemore_core.data.drives import held_out
    from lemore_core.data.samples import in_groups
    from lemore_core.taxonomy import load_groups

    if arguments.drive:
        both = [*dataset.samples('train'), *dataset.samples('val')]
        _, samples = held_out(both, dataset.root, arguments.drive)
    else:
        samples = dataset.samples(arguments.split)
    if not arguments.ground_truth_groups:
        return samples
    groups = load_groups(arguments.ground_truth_groups, dataset.taxonomy)
    return [in_groups(sample, groups) for sample in samples]


def _open_dataset(arguments: argparse.Namespace) -> Dataset:
    """Open the named data set, else that of the model's classes; unknown ones as a user's own."""
    from lemore_core.data.datasets import DATASETS, OWN, open_dataset
    from lemore_core.export.onnx_file import read_model_card
    from lemore_core.segmenter import resolve_checkpoint

    name = arguments.dataset or read_model_card(resolve_checkpoint(arguments.model)).taxonomy.name
    own = not arguments.dataset or Path(arguments.dataset).suffix
    return open_dataset(OWN if own and name not in DATASETS else name, arguments.data)


def _views(arguments: argparse.Namespace) -> Views:
    from lemore_core.evaluation.strategies import ViewError, Views

    stride = arguments.stride
    if stride is not None:
        if len(stride) > 2:
            msg = f'--stride has {len(stride)} numbers: give one, or two (down and right)'
            raise ViewError(msg)
        stride = (stride[0], stride[-1])
    window = None if arguments.window is None else (arguments.window[0], arguments.window[1])
    return Views(window, stride, tuple(arguments.scales), arguments.flip)


def _print(facts: dict[str, object], result: EvaluationResult, report: Path | None) -> None:
    figures = result.figures
    columns = [figures.pop(key) for key in TABLE]
    for key, value in {**facts, **figures}.items():
        print(f'{key:<18} {value}')
    print(f'\n{"class":<18} ' + ' '.join(f'{key:>10}' for key in TABLE))
    for name in result.taxonomy.classes:
        cells = ('-' if column[name] is None else f'{column[name]:.4f}' for column in columns)
        print(f'{name:<18} ' + ' '.join(f'{cell:>10}' for cell in cells))
    if report is not None:
        print(f'\n{report}')
