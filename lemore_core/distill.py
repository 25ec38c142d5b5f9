"""Distil: take images, label them by a teacher, hold out drives, train a small network, evaluate.

In the output folder ``frames/DRIVE/`` holds images, ``labels/`` the teacher's masks, ``data/`` both
as a data set of the layout ``folder``, ``training/`` the run. Files that exist are used again.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from lemore_core.common.errors import LemoreError
from lemore_core.common.files import write_whole
from lemore_core.common.limits import parse_json
from lemore_core.common.validation import check_fields, option
from lemore_core.data.datasets import OWN, open_dataset
from lemore_core.data.drives import last_drives
from lemore_core.data.layouts.folder import CLASSES
from lemore_core.data.readers import read_ids
from lemore_core.data.samples import Sample
from lemore_core.evaluation.evaluate import EvaluationResult, evaluate
from lemore_core.evaluation.strategies import AveragedViews, SingleScale, Views
from lemore_core.images.files import read_image, write_image
from lemore_core.images.image import to_rgb
from lemore_core.images.palettes import write_labels
from lemore_core.inference.sizes import network_size
from lemore_core.segmenter import Segmenter
from lemore_core.sources import Source, error_lines, open_sources
from lemore_core.taxonomy import UNLABELLED_8BIT, Labels, Taxonomy, load_groups
from lemore_core.training.recipe import Recipe, load_recipe
from lemore_core.training.run import train_unless_finished
from lemore_core.training.start import Hardware, TrainingRun

FOLDERS = ('frames', 'labels', 'data', 'training')  # each is made from those before it
PLAN, REPORT = 'plan.json', 'report.html'
MOVING_EVERY = 10  # of a video or a bag: two or three images a second
LONGEST_SIDE = 1024  # pixels: probabilities of every class at every pixel take much memory
JUDGED_EARLY = 20  # images after which a useless teacher is refused
MOST_OF_ONE = 0.99  # of the labelled pixels: more of one class teaches nothing
LEAST_LABELLED = 0.05  # of all pixels
HELD_OUT = 0.2  # of the images, at least, where no drives are named
WORST_IMAGES = 24  # in the report

Report = Callable[[str], None]
Splits = dict[str, list[Path]]


class DistillError(LemoreError):
    """Images, a teacher or options from which no network can be trained."""


@dataclass(frozen=True)
class DistillRun:
    """Inputs, teacher, output folder and options of a distillation.

    ``classes`` names groups of the teacher's classes, ``hold_out`` drives to validate on (default:
    the last ones), ``changes`` fields of the recipe, ``seconds`` the time of the training.

    Raises:
        DistillError: a value is out of bounds.
    """

    teacher: Path
    inputs: tuple[str, ...]
    output: Path
    _: KW_ONLY
    classes: str = ''
    hold_out: tuple[str, ...] = ()
    every: int | None = option(None, 'take every n-th image', low=1)
    scales: tuple[float, ...] = option((1.0, 1.5), 'of the image, 1 and more', low=1, high=4)
    flip: bool = option(True, 'add the mirror image of every view')
    min_probability: float = option(0.5, 'less certain pixels get no label', low=0, high=1)
    recipe: str = 'folder_distill'
    changes: Mapping[str, Any] = field(default_factory=dict)
    start: Path | None = None
    seconds: float | None = None
    hardware: Hardware = field(default_factory=Hardware)

    def __post_init__(self) -> None:
        check_fields(self, DistillError)


class Teacher:
    """Labels images for a run: the mean of several views, doubtful pixels ignored."""

    def __init__(self, run: DistillRun) -> None:
        self.segmenter = Segmenter.load(run.teacher)
        self.taxonomy = self.segmenter.taxonomy.of_labels
        ids: Labels = np.arange(len(self.taxonomy.classes), dtype=np.uint16)
        if run.classes:
            groups = load_groups(run.classes, self.segmenter.taxonomy)
            self.taxonomy, ids = groups.taxonomy.of_labels, groups.apply(ids)
        number = len(self.taxonomy.classes)
        if number >= UNLABELLED_8BIT:
            msg = f'{number} classes are too many to train on: merge them into at most 254'
            raise DistillError(msg)
        self._run = run
        # (classes, groups + 1): 1 where a class is of a group, the last column for those of none
        one_hot: NDArray[np.float32] = np.eye(number + 1, dtype=np.float32)
        self._merging = one_hot[np.minimum(ids, number)]

    @property
    def digest(self) -> str:
        """A hash of everything that labels follow from."""
        weights = hashlib.sha256(self._run.teacher.read_bytes()).hexdigest()
        options = [self._run.scales, self._run.flip, self._run.min_probability]
        return _digest(weights, options, self.taxonomy.to_dict(), self._merging.argmax(1).tolist())

    def label(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the class ids (H, W) uint8 of RGB (H, W, 3) uint8, 255 for doubtful pixels."""
        height, width = image.shape[:2]
        if max(height, width) > LONGEST_SIDE:
            size = [max(1, side * LONGEST_SIDE // max(height, width)) for side in (width, height)]
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            labels = self.label(np.asarray(small, np.uint8))
            large = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
            return np.asarray(large, np.uint8)
        probabilities = self._probabilities(image)
        labels = probabilities.argmax(-1)
        doubtful = probabilities.max(-1) < self._run.min_probability
        unknown = doubtful | (labels == len(self.taxonomy.classes))
        return np.where(unknown, UNLABELLED_8BIT, labels).astype(np.uint8)

    def require_use(self, counts: NDArray[np.int64]) -> None:
        """Refuse labels, counted by class id (256,), of nearly one class or none."""
        known = counts[:UNLABELLED_8BIT]
        total, most = int(known.sum()), int(known.argmax())
        if total < LEAST_LABELLED * counts.sum():
            msg = (
                f'the teacher {self._run.teacher} is sure of {total / counts.sum():.1%} of the '
                f'pixels at min_probability {self._run.min_probability}: these images are not '
                'what it was trained on, or --min-probability is too high'
            )
            raise DistillError(msg)
        if known[most] > MOST_OF_ONE * total:
            msg = (
                f'the teacher {self._run.teacher} calls {known[most] / total:.1%} of the pixels '
                f'{self.taxonomy.classes[most]!r}, which teaches nothing: look at its labels with '
                'lemore predict, and at --mean, --std and classes of lemore import'
            )
            raise DistillError(msg)

    def _probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (H, W, groups + 1) of RGB (H, W, 3): the mean over scales and mirror images."""
        height, width = image.shape[:2]
        views = []
        for scale in self._run.scales:
            # windows, since a teacher's file may have but one size
            window = (math.ceil(height / scale), math.ceil(width / scale)) if scale > 1 else None
            views_at = Views(window=window, flip=self._run.flip)
            views.append(AveragedViews(self.segmenter, views_at).probabilities(image))
        mean = sum(views[1:], start=views[0]) / np.float32(len(views))
        return np.asarray(mean @ self._merging, np.float32)


def distill(run: DistillRun, report: Report) -> tuple[Path, EvaluationResult]:
    """Train a student on the teacher's labels; return its checkpoint and its agreement with them.

    Raises:
        LemoreError: an input, the teacher, the classes or an option is not what it must be, or
            nothing is to be learned from the labels.
        OSError, KeyboardInterrupt: it was interrupted; finished files are kept.
    """
    teacher = Teacher(run)
    drives: dict[str, list[Source]] = {}
    for source in open_sources(run.inputs):
        if not source.paths:
            msg = f'{source.name} has no end: record a video of it, and give that'
            raise DistillError(msg)
        drives.setdefault(source.drive, []).append(source)
    plan = {f'frames/{drive}': _digest(run.every, _stats(each)) for drive, each in drives.items()}
    _keep_plan(run.output, {**plan, 'labels': teacher.digest})
    images = {drive: _take(run, drive, each, report) for drive, each in drives.items()}
    splits = _split(images, run.hold_out, report)
    recipe = _recipe(run, splits['train'][0])
    fixed = {key: value for key, value in recipe.to_dict().items() if key != 'iterations'}
    data = {split: [path.name for path in paths] for split, paths in splits.items()}
    plan = {'data': _digest(data), 'training': _digest(fixed, str(run.start or ''))}
    _keep_plan(run.output, plan)
    _label(splits['train'] + splits['val'], run.output / 'labels', teacher)
    dataset = _write_dataset(run.output, splits, teacher.taxonomy)
    training = run.output / 'training'
    planned = TrainingRun(
        recipe, dataset, training, run.hardware, start=run.start, check=False, seconds=run.seconds
    )
    train_unless_finished(planned, report)
    student, samples = training / 'last.safetensors', open_dataset(OWN, dataset).samples('val')
    return student, _evaluate(student, teacher, samples, run.output / REPORT)


def _evaluate(
    path: Path, teacher: Teacher, samples: Sequence[Sample], report: Path
) -> EvaluationResult:
    """Measure the student on the held-out drives, and write the report."""
    from lemore_core.evaluation.report import evaluation_report, worst_images, write_report

    student = Segmenter.load(path)
    worst = worst_images(WORST_IMAGES, student.taxonomy, 'teacher')
    shown = tqdm(samples, desc='student', unit='image', disable=None)
    result = evaluate(SingleScale(student), shown, worst)
    facts = {
        'student': student.card.name,
        'teacher': teacher.segmenter.card.name,
        'held out': f'{len(samples)} images',
        'licence': student.card.licence,
    }
    title = 'The student against its teacher, on drives that it was not trained on'
    page = evaluation_report(result, worst.images, title=title, facts=facts, truth='teacher')
    write_report(page, report)
    return result


def _keep_plan(output: Path, plan: Mapping[str, str]) -> None:
    """Record digests of what the folders are made from; refuse folders made from something else."""
    path = output / PLAN
    try:
        before = dict(parse_json(path.read_bytes())) if path.is_file() else {}
    except (ValueError, TypeError):
        before = dict.fromkeys(plan)  # damaged: the folders may be made from anything
    changed = [key.partition('/')[0] for key in plan if before.get(key, plan[key]) != plan[key]]
    first = min(map(FOLDERS.index, changed), default=len(FOLDERS))
    stale = [str(output / name) for name in FOLDERS[first:] if (output / name).exists()]
    if stale:
        msg = (
            f'{output} holds {FOLDERS[first]} of other inputs, labels or settings: choose another '
            f'--output, or delete {" and ".join(stale)}, with the masks that were corrected there'
        )
        raise DistillError(msg)
    write_whole(path, json.dumps({**before, **plan}))


def _digest(*values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _stats(sources: Sequence[Source]) -> list[tuple[str, int, int]]:
    files = [(path.resolve(), path.stat()) for source in sources for path in source.paths]
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in files]


def _take(run: DistillRun, drive: str, sources: Sequence[Source], report: Report) -> list[Path]:
    """Return the images of a drive, written into its folder unless that exists."""
    folder = run.output / 'frames' / drive
    if not folder.exists():
        part = _empty(folder.with_name(f'.{drive}.part'))
        frames = chain.from_iterable(source.frames() for source in sources)
        every = run.every or (MOVING_EVERY if sources[0].is_moving else 1)
        numbered = islice(enumerate(frames), 0, None, every)
        for number, frame in tqdm(numbered, desc=drive, unit='image', disable=None):
            suffix = frame.path.suffix.lower() if frame.path else '.jpg'
            path = part / f'{drive}_{number:06}{suffix}'
            if frame.path:
                shutil.copyfile(frame.path, path)
            else:
                write_image(path, to_rgb(frame.image.pixels, frame.image.encoding))
        for line in error_lines(sources):
            report(line)
        if not any(part.iterdir()):
            msg = f'{", ".join(source.name for source in sources)} gave no images'
            raise DistillError(msg)
        part.rename(folder)
    images = sorted(folder.iterdir())
    report(f'{drive}: {len(images)} images')
    return images


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _split(drives: Mapping[str, list[Path]], hold_out: Sequence[str], report: Report) -> Splits:
    """Return the images to train and to validate on, which share no drive."""
    unknown = [name for name in hold_out if name not in drives]
    if unknown or (hold_out and len(set(hold_out)) == len(drives)):
        msg = (
            f'{", ".join(unknown or hold_out)} cannot be held out of the drives '
            f'{", ".join(drives)}: name some of them, but not all'
        )
        raise DistillError(msg)
    if len(drives) == 1:
        ((drive, images),) = drives.items()
        if len(images) < 2:
            msg = f'there is only one image, {images[0]}: give more'
            raise DistillError(msg)
        cut = min(len(images) - 1, round(len(images) * (1 - HELD_OUT)))
        report(f'there is only {drive}: its end is held out, which is optimistic; add drives')
        return {'train': images[:cut], 'val': images[cut:]}
    counts = {name: len(images) for name, images in drives.items()}
    held_out = list(hold_out) or last_drives(counts, HELD_OUT)
    report(f'held out: {", ".join(held_out)}' + (' (choose with --hold-out)' * (not hold_out)))
    splits: Splits = {'train': [], 'val': []}
    for name, images in drives.items():
        splits['val' if name in held_out else 'train'] += images
    return splits


def _label(images: Sequence[Path], folder: Path, teacher: Teacher) -> None:
    """Write the teacher's mask of each image that has none."""
    counts = np.zeros(UNLABELLED_8BIT + 1, np.int64)
    for number, image in enumerate(tqdm(images, desc='teacher', unit='image', disable=None), 1):
        path = folder / f'{image.stem}.png'
        if not path.is_file():
            write_labels(path, teacher.label(read_image(image)), teacher.taxonomy)
        ids = read_ids(path, teacher.taxonomy)
        counts += np.bincount(ids.ravel(), minlength=len(counts))
        if number in (JUDGED_EARLY, len(images)):
            teacher.require_use(counts)


def _recipe(run: DistillRun, image: Path) -> Recipe:
    """Return the recipe at a size of the images' aspect, if the user chose none."""
    recipe = load_recipe(run.recipe, run.changes)
    if {'height', 'width', 'resize'} & set(run.changes):
        return recipe
    height, width = network_size((recipe.height, recipe.width), read_image(image).shape[:2])
    return load_recipe(run.recipe, {**run.changes, 'height': height, 'width': width})


def _write_dataset(output: Path, splits: Splits, taxonomy: Taxonomy) -> Path:
    """Write images, masks and classes as a data set, whole or not at all; return its folder."""
    data = output / 'data'
    if data.exists():
        return data
    part = _empty(output / '.data.part')
    for split, images in splits.items():
        for image in images:
            mask = output / 'labels' / f'{image.stem}.png'
            for kind, source in (('images', image), ('masks', mask)):
                target = part / kind / split / source.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    (part / CLASSES).write_text(yaml.safe_dump(taxonomy.to_dict(), sort_keys=False), 'utf-8')
    part.rename(data)
    return data
