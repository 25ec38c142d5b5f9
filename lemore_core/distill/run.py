"""From images without labels to a trained network and a report, in stages that can be resumed.

``frames/`` holds the chosen images, ``labels/`` what the teacher says of them, ``data/`` both as a
data set of the layout ``folder``, ``training/`` the run. Whatever is there already is used.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from lemore_core.common.files import write_whole
from lemore_core.data.datasets import OWN, open_dataset
from lemore_core.data.drives import last_drives
from lemore_core.data.layouts.folder import CLASSES
from lemore_core.data.samples import Sample
from lemore_core.distill.errors import DistillError
from lemore_core.distill.frames import FrameOptions, FrameStore
from lemore_core.distill.labels import LabelOptions, TeacherLabels
from lemore_core.distill.sources import ImageSource, open_sources
from lemore_core.images.files import read_image
from lemore_core.inference.sizes import network_size
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import Taxonomy, load_groups
from lemore_core.training.recipe import Recipe, load_recipe
from lemore_core.training.run import train_unless_finished
from lemore_core.training.start import Hardware, TrainingRun

RECIPE = 'folder_distill'
HELD_OUT = 0.2  # of the images, at least, where no drives are named
PLAN = 'plan.json'
REPORT = 'report.html'


@dataclass(frozen=True)
class DistillRun:
    """What is distilled, and how.

    ``classes`` names class groups of the teacher's classes, empty for these themselves. ``hold_out``
    names drives to validate on; where there are none, the last ones are taken. ``changes`` are
    fields of the recipe; for ``seconds`` see :class:`lemore_core.training.start.TrainingRun`.
    """

    teacher: Path
    inputs: tuple[Path, ...]
    output: Path
    _: KW_ONLY
    classes: str = ''
    hold_out: tuple[str, ...] = ()
    frames: FrameOptions = field(default_factory=FrameOptions)
    labels: LabelOptions = field(default_factory=LabelOptions)
    recipe: str = RECIPE
    changes: Mapping[str, Any] = field(default_factory=dict)
    start: Path | None = None
    seconds: float | None = None
    hardware: Hardware = field(default_factory=Hardware)


@dataclass(frozen=True)
class Distilled:
    """What came of it: the student's checkpoint, and the images that it was measured on."""

    student: Path
    teacher: Segmenter
    validation: tuple[Sample, ...]
    facts: Mapping[str, str]


def distill(run: DistillRun, report: Callable[[str], None]) -> Distilled:
    """Train a network on the teacher's labels of the inputs.

    Raises:
        LemoreError: an input, the teacher, the classes or an option is not what it must be, or
            nothing is to be learned from the labels.
        OSError: a file cannot be written; what is done is kept.
        KeyboardInterrupt: Ctrl-C was pressed; what is done is kept.
    """
    teacher = Segmenter.load(run.teacher)
    groups = load_groups(run.classes, teacher.taxonomy) if run.classes else None
    labels = TeacherLabels(teacher, run.output / 'labels', run.labels, groups)
    drives = _take(run, report)
    held_out = _held_out(drives, run.hold_out, report)
    images = [path for paths in drives.values() for path in paths]
    with tqdm(total=len(images), desc='teacher', unit='image', disable=None) as bar:
        masks = dict(zip(images, labels.label_all(images, bar.update), strict=True))
    splits = {
        split: [
            (i, masks[i]) for d, paths in drives.items() if (d in held_out) == held for i in paths
        ]
        for split, held in (('train', False), ('val', True))
    }
    recipe = _recipe(run, images[0])
    _write_dataset(run, recipe, labels.taxonomy, splits)
    planned = TrainingRun(
        recipe,
        run.output / 'data',
        run.output / 'training',
        run.hardware,
        start=run.start,
        check=False,
        seconds=run.seconds,
    )
    train_unless_finished(planned, report)
    dataset = open_dataset(OWN, planned.data)
    counts = {split: len(pairs) for split, pairs in splits.items()}
    facts = {
        'images': f'{counts["train"]} to train, {counts["val"]} held out',
        'held out': ', '.join(held_out),
    }
    return Distilled(
        planned.output / 'last.safetensors', teacher, tuple(dataset.samples('val')), facts
    )


def _take(run: DistillRun, report: Callable[[str], None]) -> dict[str, tuple[Path, ...]]:
    """Return the chosen images of each drive."""
    by_drive: dict[str, list[ImageSource]] = {}
    for source in open_sources(run.inputs):
        by_drive.setdefault(source.drive, []).append(source)
    store = FrameStore(run.output / 'frames', run.frames)
    taken = {}
    for drive, sources in by_drive.items():
        with tqdm(desc=drive, unit='image', disable=None) as bar:
            found = store.take(sources, bar.update)
        left_out = ', '.join(f'{count} {reason}' for reason, count in found.left_out.items())
        report(f'{drive}: {len(found.images)} images' + (f', not {left_out}' if left_out else ''))
        taken[drive] = found.images
    if len(taken) == 1:
        ((drive, images),) = taken.items()
        if len(images) < 2:
            msg = f'there is only one image, {images[0]}: give more'
            raise DistillError(msg)
        cut = min(len(images) - 1, round(len(images) * (1 - HELD_OUT)))
        report(f'there is only {drive}: its end is held out, which flatters; give more drives')
        taken = {drive: images[:cut], f'{drive}-end': images[cut:]}
    return taken


def _held_out(
    drives: Mapping[str, tuple[Path, ...]], names: Sequence[str], report: Callable[[str], None]
) -> tuple[str, ...]:
    unknown = [name for name in names if name not in drives]
    if unknown or len(set(names)) == len(drives):
        msg = (
            f'{", ".join(unknown or names)} cannot be held out of the drives '
            f'{", ".join(drives)}: a network is judged by drives that it was not trained on, so '
            'hold some of them out, but not all'
        )
        raise DistillError(msg)
    if names:
        return tuple(dict.fromkeys(names))
    chosen = last_drives({name: len(images) for name, images in drives.items()}, HELD_OUT)
    report(f'held out: {", ".join(chosen)} (choose with --hold-out)')
    return tuple(chosen)


def _recipe(run: DistillRun, image: Path) -> Recipe:
    """Return the recipe at a size of the images' aspect, if the user chose none."""
    recipe = load_recipe(run.recipe, run.changes)
    if {'height', 'width', 'resize'} & set(run.changes):
        return recipe
    height, width = network_size((recipe.height, recipe.width), read_image(image).shape[:2])
    return load_recipe(run.recipe, {**run.changes, 'height': height, 'width': width})


def _write_dataset(
    run: DistillRun,
    recipe: Recipe,
    taxonomy: Taxonomy,
    splits: Mapping[str, Sequence[tuple[Path, Path]]],
) -> None:
    """Write images, labels and classes as a data set.

    One that is there already is left as it is, with what a user has corrected in it.

    Raises:
        DistillError: what is in the output is of other images, labels or settings.
    """
    settings = {k: v for k, v in recipe.to_dict().items() if k != 'iterations'}
    pairs = {split: [[i.name, m.name] for i, m in found] for split, found in splits.items()}
    plan = json.dumps([pairs, settings, str(run.start or '')])
    path, data = run.output / PLAN, run.output / 'data'
    if path.is_file() and path.read_text(encoding='utf-8') == plan:
        return
    there = [one for one in (data, run.output / 'training') if one.exists()]
    if path.is_file() and there:
        msg = (
            f'{run.output} was trained on other images, labels or settings: choose another --output, '
            f'or delete {" and ".join(map(str, there))}, with the masks that were corrected there '
            '(images and labels are used again)'
        )
        raise DistillError(msg)
    shutil.rmtree(data, ignore_errors=True)
    for split, found in splits.items():
        for image, mask in found:
            for kind, source, suffix in (('images', image, image.suffix), ('masks', mask, '.png')):
                target = data / kind / split / f'{image.stem}{suffix}'
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    (data / CLASSES).write_text(yaml.safe_dump(taxonomy.to_dict(), sort_keys=False), 'utf-8')
    # last: it says that all of this is there
    write_whole(path, plan)
