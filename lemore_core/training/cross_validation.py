"""Leave one drive out: how good a recipe is on drives that it was not trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lemore_core.data.datasets import open_dataset
from lemore_core.data.drives import drives
from lemore_core.training.run import train_unless_finished
from lemore_core.training.start import TrainingRun


@dataclass(frozen=True)
class Fold:
    """A drive that was held out: its images, and the figures of the last checkpoint on them."""

    drive: str
    images: int
    figures: dict[str, Any]


def cross_validate(run: TrainingRun, report: Callable[[str], None]) -> Iterator[Fold]:
    """Train once for each drive of train and val, without it, and yield its fold.

    The runs lie in folders of ``run.output`` with the drives' names. Those that are finished are
    not repeated, and one that was interrupted is resumed. The last checkpoint counts, not the best:
    choosing one by the drive that it is measured on would flatter it.

    Raises:
        LemoreError: see :func:`lemore_core.training.run.train`.
    """
    dataset = open_dataset(run.recipe.dataset, run.data)
    samples = [*dataset.samples('train'), *dataset.samples('val')]
    for drive, held_out in drives(samples, dataset.root).items():
        report(f'without {drive}')
        recipe = dataclasses.replace(run.recipe, hold_out=drive)
        planned = dataclasses.replace(run, recipe=recipe, output=run.output / drive)
        figures = dict(train_unless_finished(planned, report).metrics)
        yield Fold(drive, len(held_out), figures)
