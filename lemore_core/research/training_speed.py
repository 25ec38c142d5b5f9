"""Whether a training waits for its images: the loader against the step, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader

from lemore_core.common.memory import keep_freed_memory
from lemore_core.data.datasets import open_dataset
from lemore_core.training.images import Batch
from lemore_core.training.run import make_loader, make_task
from lemore_core.training.start import TrainingRun
from lemore_core.training.task import SegmentationTask

WARM_UP = 2  # batches that are not counted


@dataclass(frozen=True)
class Speed:
    """Images a second of loading alone, of the training step alone, and of both together.

    ``epoch_seconds`` is what the data set takes once, at the speed of both together.
    """

    images: int
    loading: float
    step: float
    together: float

    @property
    def epoch_seconds(self) -> float:
        """Seconds for every image of the training split once."""
        return self.images / self.together


def measure_speed(run: TrainingRun, steps: int) -> Speed:
    """Time ``steps`` batches of a recipe on this machine; nothing is written.

    Raises:
        LemoreError: see :func:`lemore_core.training.run.train`.
    """
    if not run.hardware.uses_gpu:
        keep_freed_memory(all_blocks=True)
    dataset = open_dataset(run.recipe.dataset, run.data)
    samples = dataset.samples('train')
    task = make_task(run, dataset, samples, lambda _: None)
    step = _Step(task, torch.device('cuda' if run.hardware.uses_gpu else 'cpu'))
    loader = make_loader(run, samples)
    batches = _endless(loader)
    count = steps * run.recipe.batch
    first = next(batches)
    loading = count / _seconds(lambda: next(batches), steps)
    alone = count / _seconds(lambda: step(first), steps)
    together = count / _seconds(lambda: step(next(batches)), steps)
    return Speed(len(samples), loading, alone, together)


class _Step:
    """A training step without Lightning around it."""

    def __init__(self, task: SegmentationTask, device: torch.device) -> None:
        self.task = task.to(device).train()
        self.device = device
        self.optimizer = torch.optim.AdamW(task.network.parameters())

    def __call__(self, batch: Batch) -> None:
        images, masks = (part.to(self.device, non_blocking=True) for part in batch)
        with torch.autocast(
            self.device.type,
            dtype=torch.float16 if self.task.recipe.precision == '16' else torch.bfloat16,
            enabled=self.task.recipe.precision in ('bf16', '16'),
        ):
            loss = self.task.loss(images, masks, (0, 0))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.device.type == 'cuda':
            torch.cuda.synchronize()


def _endless(loader: DataLoader[Batch]) -> Iterator[Batch]:
    while True:
        yield from loader


def _seconds(action: Callable[[], object], steps: int) -> float:
    for _ in range(WARM_UP):
        action()
    started = time.perf_counter()
    for _ in range(steps):
        action()
    return time.perf_counter() - started
