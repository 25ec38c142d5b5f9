"""``lemore bag evaluate``, shared by ``compare``; exit status 3 if something could not be read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemore_core.cli.arguments import SEGMENTER, declare, load_segmenter, print_json, seconds
from lemore_core.familiarity import UNFAMILIAR
from lemore_ros.bags.cli import gate
from lemore_ros.bags.errors import INCOMPLETE, BagError

if TYPE_CHECKING:
    from lemore_ros.bags.evaluation.evaluate import DriveEvaluation, JudgedFrame
    from lemore_ros.bags.evaluation.image_sequence import ImageSequence
    from lemore_ros.bags.evaluation.label_sources import GroundTruth, LabelSource

# explanations of figures on the terminal
EXPLAINED = {
    'familiarity': '  share of held-out images as far from the training images, docs/familiarity.md',
    'sureness': '  mean calibrated confidence',
    'unfamiliar': f'  share of frames of a familiarity below {UNFAMILIAR}',
    'doubtful': '  share of pixels of less than 50 % confidence',
    'flicker': '  share of pixels whose label differs from the frame before',
    'left_unlabelled': '  share of ground truth without a label',
    'agreement': '  share of pixels with the same label',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('bag', type=Path, metavar='IN', help='the recorded drive')
    parser.add_argument('--labels', metavar='TOPIC', help='take the labels of this topic of IN')
    add_shared_arguments(parser, report_images=12)


def add_shared_arguments(parser: argparse.ArgumentParser, report_images: int) -> None:
    """Declare the ground truth, the model, the images to evaluate, and the results."""
    add = parser.add_argument_group('ground truth').add_argument
    text = (
        'a topic of labels in the bag, a folder of masks called <sec>_<nanosec>.png or '
        '<nanoseconds>.png by the stamps of their images, or another bag'
    )
    add('--ground-truth', default='', metavar='TOPIC|FOLDER|BAG', help=text)
    add('--ground-truth-topic', default='', metavar='TOPIC', help='of labels in that bag')
    text = "what masks in a folder hold: class ids, or the data set's own ids or colors"
    add('--ground-truth-ids', choices=('classes', 'dataset'), default='classes', help=text)
    declare(parser, *SEGMENTER)
    # without --model, labels in the bag come before the default model
    parser.set_defaults(model=None)
    group = parser.add_argument_group('images')
    add = group.add_argument
    add('--topic', default='', help='of the camera, if there are several')
    add('--images', type=Path, metavar='BAG', help='the bag with the images, if IN has none')
    add('--skip', type=seconds, default=0.0, help='seconds to leave out at the beginning')
    add('--duration', type=seconds, help='seconds to evaluate')
    add(
        '--tolerance-ms',
        dest='tolerance_ns',
        type=lambda text: round(1e6 * seconds(text)),
        default='5',
        metavar='MS',
        help='largest difference of matching stamps (5)',
    )
    declare(group, 'max-pixels')
    add = parser.add_argument_group('results').add_argument
    add('--report', type=Path, metavar='FILE.html', help='write a report')
    text = f'show the N worst frames for each reason ({report_images})'
    add('--report-images', type=int, default=report_images, metavar='N', help=text)
    declare(parser, 'json')
    gate.add_arguments(parser)
    text = 'compare groups of the classes: auto, a name, or a YAML file'
    parser.add_argument('--class-groups', default='', metavar='GROUPS', help=text)


def run(arguments: argparse.Namespace) -> None:
    """Measure the labels; print the figures, and write the report."""
    images = open_images(arguments, [arguments.labels or ''])
    truth, facts = None, {}
    with ExitStack() as stack:
        source = stack.enter_context(closing(_open_labels(arguments)))
        if arguments.class_groups:
            source.group(arguments.class_groups)
        print(source.description, file=sys.stderr if arguments.json else sys.stdout)
        if arguments.ground_truth:
            truth = stack.enter_context(closing(open_ground_truth(arguments, source, images)))
            facts = truth.facts
        measure(arguments, images, source, truth, {**facts, **source.facts})


def open_images(arguments: argparse.Namespace, masks: list[str]) -> ImageSequence:
    """Open the images; topics called ``masks``, and the ground truth, are no cameras."""
    from lemore_core.evaluation.report import check_requirements
    from lemore_ros.bags.evaluation.image_sequence import ImageSequence

    if arguments.report is not None:
        check_requirements()  # before a long bag is read
    return ImageSequence(
        arguments.images or arguments.bag,
        arguments.topic,
        masks=[*masks, arguments.ground_truth],
        start_s=arguments.skip,
        duration_s=arguments.duration,
        max_pixels=arguments.max_pixels,
    )


def open_model(arguments: argparse.Namespace, model: str) -> LabelSource:
    """Load a model with the other arguments."""
    from lemore_ros.bags.evaluation.label_sources import ModelLabels

    return ModelLabels(load_segmenter(argparse.Namespace(**{**vars(arguments), 'model': model})))


def open_ground_truth(
    arguments: argparse.Namespace, source: LabelSource, images: ImageSequence
) -> GroundTruth:
    """Open the ground truth, in the classes of the labels where it has no class table."""
    from lemore_ros.bags.evaluation.label_sources import GroundTruth

    topic, ids = arguments.ground_truth_topic, arguments.ground_truth_ids
    given = arguments.ground_truth, arguments.bag, source.taxonomy, arguments.tolerance_ns
    truth = GroundTruth(*given, topic=topic, ids=ids, camera=images.topic)
    if arguments.class_groups and truth.taxonomy.classes != source.taxonomy.classes:
        truth.group(arguments.class_groups)
    return truth


def measure(
    arguments: argparse.Namespace,
    images: ImageSequence,
    source: LabelSource,
    reference: LabelSource | GroundTruth | None,
    facts: dict[str, str],
    names: tuple[str, str] | None = None,
    truth: GroundTruth | None = None,
) -> None:
    """Evaluate the labels, print the figures and write the report.

    ``names`` are those compared, ``truth`` judges both of them.
    """
    from lemore_core.evaluation.report import write_report
    from lemore_ros.bags.evaluation.report import drive_report, worst_frames

    conditions, baseline = gate.open_gate(arguments, images.topic.name, source.taxonomy.classes)
    worst = worst_frames(arguments.report_images, source.taxonomy, names)
    observe = None if arguments.report is None else worst
    evaluation = _evaluate(images, source, reference, observe, truth)
    alone = {side: one.to_dict() for side, one in zip('AB', evaluation.alone, strict=False)}
    judged = {} if truth is None else alone
    facts = {'bag': str(images.path), 'camera': images.topic.name, **facts}
    facts |= {f'{side}_mean_iou': str(one['mean_iou']) for side, one in judged.items()}
    losses = _losses(images, filter(None, (source, reference, truth)))
    if images.damage:
        facts['damage'] = images.damage
    if arguments.report is not None:
        title = ' and '.join(names) if names else f'{source.name} on {arguments.bag.name}'
        report = drive_report(evaluation, worst.images, title=title, facts=facts, names=names)
        write_report(report, arguments.report)
        print(arguments.report, file=sys.stderr if arguments.json else sys.stdout)
    values = {**facts, **evaluation.to_dict()}
    scores = {'' if names is None else 'both': values, **judged}
    if judged:
        keep = ('frames_with_ground_truth', 'mean_iou', 'pixel_accuracy', 'iou')
        values['ground_truth_scores'] = {
            side: {key: figures[key] for key in keep} for side, figures in judged.items()
        }
    if arguments.json:
        print_json(values)
    else:
        _print_figures(values, scores)
    if losses:
        print(*losses, sep='\n', file=sys.stderr)
    before, after = alone.get('A', baseline), {**values, **alone.get('B', {})}
    gate.close_gate(arguments, conditions, before, after)
    if losses:
        sys.exit(INCOMPLETE)


def _losses(images: ImageSequence, labels: Iterable[LabelSource | GroundTruth]) -> list[str]:
    """Return what of the images and of the labels cannot be read."""
    from lemore_ros.bags.evaluation.image_sequence import UNREADABLE
    from lemore_ros.bags.evaluation.label_sources import UNREADABLE_LABELS

    losses, damage = [], {images.path: images.damage}
    if count := images.error_counts[UNREADABLE]:
        losses.append(f'{images.path}: {count} {UNREADABLE}: {images.reason}')
    for one in labels:
        if one.bag is not None:
            damage.setdefault(one.bag.path, str(one.bag.errors))
        if count := one.error_counts[UNREADABLE_LABELS]:
            losses.append(f'{one.name}: {count} {UNREADABLE_LABELS}: {one.reason}')
    return [f'{path} is damaged: {what}' for path, what in damage.items() if what] + losses


def _evaluate(
    images: ImageSequence,
    source: LabelSource,
    reference: LabelSource | GroundTruth | None,
    on_frame: Callable[[JudgedFrame], object] | None,
    truth: GroundTruth | None,
) -> DriveEvaluation:
    """Evaluate with a progress bar."""
    from tqdm import tqdm

    from lemore_ros.bags.evaluation.evaluate import evaluate_drive

    total = images.topic.count if images.is_whole else None
    with tqdm(total=total, unit='frame', disable=None) as bar:

        def observe(frame: JudgedFrame) -> None:
            bar.update()
            if on_frame is not None:
                on_frame(frame)

        return evaluate_drive(images, source, reference, observe, truth)


def _print_figures(values: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the figures, and the IoU of the classes with a column for each of ``scores``."""
    for key, value in {**values, **values['error_counts']}.items():
        if not isinstance(value, dict | list) and value is not None:
            print(f'{key:<22} {value}{EXPLAINED.get(key, "")}')
    if 'iou' not in values:
        return
    rows = [{**one['iou'], 'mean': one['mean_iou']} for one in scores.values()]
    print(f'{"IoU by class":<22}', *(f'{name:<8}' for name in scores))
    for name in rows[0]:
        print(f'  {name:<20}', *(f'{"-" if row[name] is None else row[name]:<8}' for row in rows))


def _open_labels(arguments: argparse.Namespace) -> LabelSource:
    """Open the named topic or model, or else the labels in the bag, or else the default model."""
    from lemore_ros.bags.evaluation.label_sources import RecordedLabels
    from lemore_ros.bags.reader import open_bag
    from lemore_ros.bags.topics import recorded_labels

    names = [arguments.labels] if arguments.labels else []
    if not names and arguments.model is None:
        with open_bag(arguments.bag) as bag:
            names = [topic.name for topic in recorded_labels(bag)]
        names = [name for name in names if name != arguments.ground_truth]
    if len(names) > 1:
        listed = ', '.join(names)
        msg = f'{arguments.bag} has labels on {listed}: choose with --labels, or name a --model'
        raise BagError(msg)
    if not names:
        return open_model(arguments, arguments.model or 'tiny')
    return RecordedLabels(arguments.bag, names[0], arguments.dataset, arguments.tolerance_ns)
