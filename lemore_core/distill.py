"""Distil: take images, label them by a teacher, hold out drives, train a small network.

In the output folder ``frames/DRIVE/`` holds images, ``labels/`` the teacher's masks and soft
labels, ``data/`` all of them as a data set of the layout ``folder``, ``training/`` the run. Files
that exist are used again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lemore_core.common.errors import LemoreError, counted
from lemore_core.common.files import atomic_folder, hold, write_whole
from lemore_core.common.limits import parse_json
from lemore_core.common.validation import check_fields, option
from lemore_core.common.yaml_file import dump_yaml
from lemore_core.data.datasets import CLASSES
from lemore_core.data.drives import divided, listed
from lemore_core.data.origin import ORIGIN, ImageSource, Origin
from lemore_core.data.samples import SUFFIX, read_ids, write_soft
from lemore_core.data.split import copy_into
from lemore_core.images.files import read_image, write_image, write_labels
from lemore_core.images.image import to_rgb
from lemore_core.inference.sizes import network_size
from lemore_core.sources import Frame, Source, error_lines, open_sources
from lemore_core.taxonomy import UNLABELLED_8BIT
from lemore_core.teacher import Teacher
from lemore_core.training.recipe import Recipe, load_recipe
from lemore_core.training.run import Report, train_unless_finished
from lemore_core.training.start import Hardware, TrainingRun
from lemore_core.training.task import PROGRESS_SECONDS

FOLDERS = ('frames', 'labels', 'data', 'training')  # each is made from those before it
PLAN = 'plan.json'
MOVING_EVERY = 10  # of a video or a bag: two or three images a second
LONGEST_FRAME = 1920  # pixels: the training reads each image many times
JUDGED_EARLY = 20  # images after which a useless teacher is refused

Splits = dict[str, list[Path]]


class DistillError(LemoreError):
    """Images or options from which no network can be trained."""


@dataclass(frozen=True)
class DistillRun:
    """Inputs, teacher, output folder and options of a distillation.

    ``hold_out`` names drives to validate on (default: the last ones), ``changes`` fields of the
    recipe, ``seconds`` the time of the training.
    """

    teacher: Teacher
    inputs: tuple[ImageSource, ...]
    output: Path
    _: KW_ONLY
    hold_out: tuple[str, ...] = ()
    every: int | None = option(None, 'take every n-th image', low=1)
    recipe: str = 'folder_distill'
    changes: Mapping[str, Any] = field(default_factory=dict)
    start: Path | None = None
    seconds: float | None = None
    hardware: Hardware = field(default_factory=Hardware)

    def __post_init__(self) -> None:
        check_fields(self, DistillError)


def distill(run: DistillRun, report: Report) -> Path:
    """Train a student on the teacher's labels; return its checkpoint.

    The split val of the data set in ``data/`` are the teacher's labels of the held-out drives.
    """
    with hold(run.output):
        return _distill(run, report)


def _distill(run: DistillRun, report: Report) -> Path:
    load_recipe(run.recipe, run.changes)  # refused before anything is labelled
    drives = _open(run)
    plan = {f'frames/{drive}': _digest(_stats(each)) for drive, each in drives.items()}
    _keep_plan(run.output, {**plan, 'labels': run.teacher.digest})
    images = {drive: _take(run.output, drive, each, report) for drive, each in drives.items()}
    number = sum(map(len, images.values()))
    report(f'{counted(number, "image")} of {listed(images)}')
    splits = _split(images, run.hold_out, report)
    recipe = _recipe(run, splits['train'][0])
    fixed = {key: value for key, value in recipe.to_dict().items() if key != 'iterations'}
    data = {split: [path.name for path in paths] for split, paths in splits.items()}
    plan = {'data': _digest(data), 'training': _digest(fixed, str(run.start or ''))}
    _keep_plan(run.output, plan)
    report(f'{run.teacher.path.name} labels what has no labels yet')
    _label(splits['train'] + splits['val'], run.output / 'labels', run.teacher, report)
    dataset = _write_dataset(run, splits)
    write_whole(dataset / ORIGIN, dump_yaml(Origin(run.inputs, run.teacher.record).to_dict()))
    training = run.output / 'training'
    planned = TrainingRun(
        recipe, dataset, training, run.hardware, start=run.start, check=False, seconds=run.seconds
    )
    train_unless_finished(planned, report)
    return training / 'last.safetensors'


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


def _open(run: DistillRun) -> dict[str, list[tuple[Source, int]]]:
    """Return the sources of each drive, and the distance of the images to take of them."""
    drives: dict[str, list[tuple[Source, int]]] = {}
    for given in run.inputs:
        for source in open_sources([given.path]):
            if not source.paths:
                msg = f'{source.name} has no end: record a video of it, and give that'
                raise DistillError(msg)
            every = given.every or run.every or (MOVING_EVERY if source.is_moving else 1)
            drives.setdefault(given.drive or source.drive, []).append((source, every))
    return drives


def _stats(sources: Sequence[tuple[Source, int]]) -> list[tuple[object, ...]]:
    files = [(path, path.stat(), every) for source, every in sources for path in source.paths]
    return [(str(path.resolve()), s.st_size, s.st_mtime_ns, every) for path, s, every in files]


def _take(
    output: Path, drive: str, sources: Sequence[tuple[Source, int]], report: Report
) -> list[Path]:
    """Return the images of a drive, written into its folder unless that exists."""
    folder = output / 'frames' / drive
    if folder.exists():
        return sorted(folder.iterdir())
    shrunk = Counter[str]()
    with atomic_folder(folder) as part:
        for frame, number in tqdm(_numbered(sources), desc=drive, unit='image', disable=None):
            size = frame.image.pixels.shape[:2]
            shrunk[f'{size[1]}x{size[0]}'] += max(size) > LONGEST_FRAME
            _write_frame(part / f'{drive}_{number:06}', frame)
        for line in error_lines([source for source, _ in sources]):
            report(line)
        for large, number in (+shrunk).items():
            report(f'{drive}: {number} of {large}, stored with a long side of {LONGEST_FRAME}')
        if not any(part.iterdir()):
            names = ', '.join(source.name for source, _ in sources)
            msg = f'{names} gave no images'
            raise DistillError(msg)
    return sorted(folder.iterdir())


def _numbered(sources: Sequence[tuple[Source, int]]) -> Iterator[tuple[Frame, int]]:
    numbers = count()
    for source, every in sources:
        # frames first, or each source that ends would take a number
        yield from islice(zip(source.frames(), numbers, strict=False), 0, None, every)


def _write_frame(path: Path, frame: Frame) -> None:
    """Write an image as its file has it; large ones, and those of videos, as JPEG."""
    pixels = frame.image.pixels
    longest = max(pixels.shape[:2])
    if frame.path and longest <= LONGEST_FRAME:
        shutil.copyfile(frame.path, path.with_suffix(frame.path.suffix.lower()))
        return
    pixels = to_rgb(pixels, frame.image.encoding)
    if longest > LONGEST_FRAME:
        height, width = (max(1, side * LONGEST_FRAME // longest) for side in pixels.shape[:2])
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))
    write_image(path.with_suffix('.jpg'), pixels)


def _split(drives: Mapping[str, list[Path]], hold_out: Sequence[str], report: Report) -> Splits:
    """Return the images to train and to validate on, which share no drive."""
    train, val, held_out = divided(drives, hold_out)
    if held_out:
        report(f'held out: {listed(held_out)}' + ' (choose with --hold-out)' * (not hold_out))
    else:
        report(
            f'there is only {next(iter(drives))}: its end is held out, which is optimistic; add drives'
        )
    return {'train': train, 'val': val}


def _label(images: Sequence[Path], folder: Path, teacher: Teacher, report: Report) -> None:
    """Write the teacher's mask and soft labels of each image that lacks one of them."""
    counts = np.zeros(UNLABELLED_8BIT + 1, np.int64)
    reported = time.monotonic()
    for number, image in enumerate(tqdm(images, desc='teacher', unit='image', disable=None), 1):
        if not sys.stderr.isatty() and time.monotonic() > reported + PROGRESS_SECONDS:
            reported = time.monotonic()
            report(f'{number - 1:,} of {counted(len(images), "image")} labelled')
        path = folder / f'{image.stem}.png'
        if not (path.is_file() and path.with_suffix(SUFFIX).is_file()):
            mask, soft = teacher.label(read_image(image))
            write_soft(path.with_suffix(SUFFIX), soft)
            write_labels(path, mask, teacher.taxonomy)
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


def _write_dataset(run: DistillRun, splits: Splits) -> Path:
    """Write images, labels and classes as a data set, whole or not at all; return its folder."""
    data = run.output / 'data'
    if data.exists():
        return data
    with atomic_folder(data) as part:
        for split, images in splits.items():
            for image in images:
                mask = run.output / 'labels' / f'{image.stem}.png'
                soft = mask.with_suffix(SUFFIX)
                for kind, source in (('images', image), ('masks', mask), ('soft', soft)):
                    copy_into(part / kind / split / source.name, source)
        write_whole(part / CLASSES, dump_yaml(run.teacher.taxonomy.to_dict()))
    return data
