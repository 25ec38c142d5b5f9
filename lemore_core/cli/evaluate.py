"""``lemore evaluate``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_core.cli.arguments import SEGMENTER, count, declare, listed, load_segmenter, print_json

if TYPE_CHECKING:
    from lemore_core.data.datasets import Dataset
    from lemore_core.data.samples import Sample
    from lemore_core.evaluation.evaluate import EvaluationResult
    from lemore_core.evaluation.strategies import Predictor
    from lemore_core.segmenter import Segmenter

TABLE = ('iou', 'accuracy')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    declare(parser, *SEGMENTER, 'json')
    parser.add_argument('--data', type=Path, required=True, help='folder of the data set')
    parser.add_argument('--split', default='val', help='val')
    parser.add_argument('--limit', type=count, help='only so many images, the first ones')
    parser.add_argument('--drive', help='only the images of this drive, of train and val')
    text = "class groups of the model's classes, named as the data set's: probabilities are summed"
    parser.add_argument('--class-groups', '--map', metavar='FILE', help=text)
    text = "class groups of the data set's classes, of the same names in the same order"
    parser.add_argument('--ground-truth-groups', metavar='FILE', help=text)
    scenes = parser.add_argument_group('familiarity', 'docs/familiarity.md')
    text = (
        'store: write into the checkpoint what familiarity and sureness compare with, measured on '
        'train and val; table: print how well they tell corrupted images'
    )
    scenes.add_argument('--familiarity', choices=('store', 'table'), help=text)
    text = 'images, folders or videos of another place, for the table'
    scenes.add_argument('--elsewhere', nargs='+', default=[], metavar='INPUT', help=text)
    views = parser.add_argument_group('views', 'whose probabilities are averaged')
    views.add_argument('--flip', action='store_true', help='add the mirror image')
    text = 'such as 0.5,0.75,1,1.25,1.5,1.75'
    views.add_argument('--scales', type=listed(float), default=[1.0], help=text)
    report = parser.add_argument_group('report')
    report.add_argument('--report', type=Path, metavar='FILE.html', help='write a report')
    text = 'show the N worst images, 50'
    report.add_argument('--report-images', type=count, default=50, metavar='N', help=text)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate; print the figures, and write the report."""
    from lemore_core.data.datasets import OWN
    from lemore_core.data.samples import DataError
    from lemore_core.evaluation.report import check_requirements
    from lemore_core.evaluation.strategies import Views, predictor_for
    from lemore_core.taxonomy import load_groups

    views = Views(tuple(arguments.scales), arguments.flip)
    if arguments.report is not None:
        check_requirements()
    dataset = _open_dataset(arguments)
    samples = _samples(arguments, dataset)[: arguments.limit]
    if arguments.dataset == OWN or arguments.ground_truth_groups or arguments.class_groups:
        # a layout and no class table: the model keeps its own
        arguments.dataset = ''
    segmenter = load_segmenter(arguments)
    if arguments.familiarity:
        _scenes(arguments, segmenter, dataset)
        return
    groups = arguments.class_groups
    merged = load_groups(groups, segmenter.taxonomy) if groups else None
    predictor = predictor_for(segmenter, views, merged)
    facts = {
        'model': segmenter.card.name,
        'dataset': dataset.taxonomy.name,
        'split': f'drive {arguments.drive}' if arguments.drive else arguments.split,
        'images': len(samples),
        'backend': f'{segmenter.status.backend} {segmenter.status.device}',
        'views': str(views),
    }
    result = measure(predictor, samples, facts, arguments.report, arguments.report_images)
    if not result.scores.matrix.counts.any():
        msg = f'{arguments.data} has no labelled pixel in {facts["split"]}: see lemore data check'
        raise DataError(msg)
    if arguments.json:
        print_json({**facts, **result.to_dict()})
    else:
        print_result(facts, result, arguments.report)


def _scenes(arguments: argparse.Namespace, segmenter: Segmenter, dataset: Dataset) -> None:
    """Store the scene statistics of the data set in the checkpoint, or print their table."""
    from tqdm import tqdm

    from lemore_core.checkpoint import store_scenes
    from lemore_core.evaluation import scenes
    from lemore_core.sources import open_sources

    bar = partial(tqdm, disable=None)
    train, val = (dataset.samples(split) for split in ('train', 'val'))
    if arguments.familiarity == 'store':
        found = scenes.measure_scenes(segmenter, train, val, bar)
        store_scenes(segmenter.path, found)
        drives = ', '.join(found.held_out)
        print(f'{segmenter.path}: {found.images} images, temperature {found.temperature}, {drives}')
        return
    elsewhere = open_sources(arguments.elsewhere)
    print(scenes.corruption_table(segmenter, [*train, *val], elsewhere, bar))


def measure(
    predictor: Predictor,
    samples: list[Sample],
    facts: Mapping[str, object],
    page: Path | None,
    images: int,
    truth: str = 'ground truth',
) -> EvaluationResult:
    """Evaluate with a progress bar, and write the report ``page`` with so many images if wanted."""
    from tqdm import tqdm

    from lemore_core.evaluation import report
    from lemore_core.evaluation.evaluate import evaluate

    worst = report.worst_images(images, predictor.taxonomy, truth)
    bar = tqdm(samples, unit='image', disable=None)
    result = evaluate(predictor, bar, None if page is None else worst)
    if page is not None:
        title = '{model} on {dataset} {split}'.format_map(facts)
        texts = {key: str(value) for key, value in facts.items()}
        made = report.evaluation_report(result, worst.images, title=title, facts=texts, truth=truth)
        report.write_report(made, page)
    return result


def _samples(arguments: argparse.Namespace, dataset: Dataset) -> list[Sample]:
    """Return the samples of the split or drive, in groups of their classes where given."""
    from lemore_core.data.drives import divided, drives
    from lemore_core.data.samples import in_groups
    from lemore_core.taxonomy import load_groups

    if arguments.drive:
        both = [*dataset.samples('train'), *dataset.samples('val')]
        _, samples, _ = divided(drives(both), [arguments.drive])
    else:
        samples = dataset.samples(arguments.split)
    if not arguments.ground_truth_groups:
        return samples
    groups = load_groups(arguments.ground_truth_groups, dataset.taxonomy)
    return [in_groups(sample, groups) for sample in samples]


def _open_dataset(arguments: argparse.Namespace) -> Dataset:
    """Open the named data set, else that of the model's classes; with a class table, as a user's own."""
    from lemore_core.data.datasets import CLASSES, DATASETS, OWN, open_dataset
    from lemore_core.export.onnx_file import read_model_card
    from lemore_core.segmenter import resolve_checkpoint

    name = arguments.dataset or read_model_card(resolve_checkpoint(arguments.model)).taxonomy.name
    own = not arguments.dataset or Path(arguments.dataset).suffix
    own = own and (name not in DATASETS or (arguments.data / CLASSES).is_file())
    return open_dataset(OWN if own else name, arguments.data)


def print_result(facts: Mapping[str, object], result: EvaluationResult, page: Path | None) -> None:
    """Print facts and figures, a line for each class, and where the report is."""
    figures = result.figures
    columns = [figures.pop(key) for key in TABLE]
    lacking = result.scores.matrix.lacking(result.taxonomy.classes)
    figures['mean_iou'] = f'{figures["mean_iou"]}{lacking}'
    for key, value in {**facts, **figures}.items():
        print(f'{key:<18} {value}')
    print(f'\n{"class":<18} ' + ' '.join(f'{key:>10}' for key in TABLE))
    for name in result.taxonomy.classes:
        cells = ('-' if column[name] is None else f'{column[name]:.4f}' for column in columns)
        print(f'{name:<18} ' + ' '.join(f'{cell:>10}' for cell in cells))
    if page is not None:
        print(f'\n{page}')
