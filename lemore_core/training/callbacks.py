"""What a run leaves behind and shows: checkpoints, its state, overlays, a progress bar."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from tqdm import tqdm

from lemore_core import checkpoint
from lemore_core.images.render import overlay
from lemore_core.taxonomy import Taxonomy
from lemore_core.training.task import LOSS, Score, SegmentationTask

STATE = 'run.safetensors'
ALPHA = 0.6


class Checkpoints(Callback):
    """Writes ``last.safetensors`` after each validation, and ``best.safetensors`` by its mIoU.

    It stands before the moving average among the callbacks: at the end of a validation the task
    still holds the averaged weights, which are the ones to keep. ``split`` names in them what their
    figures were measured on.
    """

    def __init__(self, folder: Path, training: dict[str, Any], split: str = 'val') -> None:
        self.folder = folder
        self.training = training
        self.split = split
        self.best = -1.0
        self.latest: Score | None = None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the averaged weights and log the figures."""
        assert isinstance(pl_module, SegmentationTask)
        score = self.latest = pl_module.score()
        is_best = score.mean_iou > self.best
        self.best = max(self.best, score.mean_iou)
        if not trainer.is_global_zero:
            return
        names = ['last', 'best'] if is_best else ['last']
        for name in names:
            self._save(name, trainer, pl_module, score)
        _log_validation(trainer, pl_module, score)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {'best': self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave."""
        self.best = state_dict['best']

    def _save(self, name: str, trainer: Trainer, task: SegmentationTask, score: Score) -> None:
        card = dataclasses.replace(
            task.card,
            metrics={'split': self.split, **score.figures},
            training={
                **self.training,
                'step': trainer.global_step,
                'finished': trainer.should_stop,
            },
        )
        checkpoint.save(self.folder / f'{name}.safetensors', card, task.network.state_dict())


class RunState(Callback):
    """Writes the state that a killed run resumes from, at the end of each epoch."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / STATE

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the state."""
        del pl_module
        trainer.save_checkpoint(self.path)


class ProgressBar(Callback):
    """A bar over all steps with the time left, and a line after each validation.

    ``steps`` is None where a run is given time instead.
    """

    def __init__(
        self, steps: int | None, checkpoints: Checkpoints, report: Callable[[str], None]
    ) -> None:
        self.steps = steps
        self.checkpoints = checkpoints
        self.report = report
        self.bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar; a resumed run's stands where it was."""
        del pl_module
        if trainer.is_global_zero:
            self.bar = tqdm(
                total=self.steps, initial=trainer.global_step, unit='step', disable=None
            )

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the bar."""
        del trainer, batch, batch_idx
        if self.bar is not None:
            self.bar.update()
            if not self.bar.disable:
                self._show(pl_module, loss=f'{float(outputs["loss"]):.3f}')

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the images of a validation, which may take minutes."""
        del outputs, batch, dataloader_idx
        if self.bar is not None and not self.bar.disable:
            total = int(sum(trainer.num_val_batches))
            self._show(pl_module, validating=f'{batch_idx + 1}/{total}')
            self.bar.refresh()

    def _show(self, pl_module: LightningModule, **values: str) -> None:
        assert isinstance(pl_module, SegmentationTask)
        assert self.bar is not None
        if pl_module.time_used is not None:
            values['time'] = f'{pl_module.time_used:.0%}'
        if self.checkpoints.latest is not None:
            values['mIoU'] = f'{100 * self.checkpoints.latest.mean_iou:.1f}'
        self.bar.set_postfix(values, refresh=False)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the figures."""
        del pl_module
        score = self.checkpoints.latest
        if not trainer.is_global_zero or score is None:
            return
        loss = trainer.callback_metrics.get(LOSS, torch.nan)
        self.report(
            f'step {trainer.global_step}{f"/{self.steps}" if self.steps else ""} '
            f'loss {float(loss):.4f} '
            f'mIoU {100 * score.mean_iou:.2f} best {100 * self.checkpoints.best:.2f}'
        )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the bar, also after an error."""
        del trainer, pl_module, stage
        if self.bar is not None:
            self.bar.close()


def _log_validation(trainer: Trainer, task: SegmentationTask, score: Score) -> None:
    logger = trainer.logger
    if not isinstance(logger, TensorBoardLogger):
        return
    step = trainer.global_step
    logger.log_metrics(score.curves, step)
    for i, preview in enumerate(task.previews):
        image = side_by_side(*preview, task.card.taxonomy)
        logger.experiment.add_image(f'val/{i}', image, step, dataformats='HWC')


def side_by_side(image: Tensor, truth: Tensor, labels: Tensor, taxonomy: Taxonomy) -> Any:
    """Return the prediction over the image, and the truth over it, (H, 2 W, 3) RGB uint8.

    ``image`` is RGB (3, H, W) uint8, ``truth`` and ``labels`` are class ids (H, W).
    """
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    halves = [
        overlay(pixels, 'rgb8', ids.to(torch.uint8).numpy(), taxonomy.palette, ALPHA)
        for ids in (labels, truth)
    ]
    return torch.cat([torch.from_numpy(half) for half in halves], dim=1).numpy()
