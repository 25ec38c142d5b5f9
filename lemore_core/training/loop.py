"""A plain training loop: AdamW, warm-up and poly decay, class weights, moving average."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from lemore_core import checkpoint
from lemore_core.checkpoint import ModelCard
from lemore_core.data.augment import Augmentation
from lemore_core.data.camvid import Sample, list_samples
from lemore_core.evaluation.metrics import ConfusionMatrix
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import variant
from lemore_core.taxonomy import UNLABELLED_8BIT, Taxonomy, load_taxonomy
from lemore_core.training.config import TrainingConfig

LICENCES = {'camvid': 'CC BY-NC 4.0: trained on CamVid, research use only'}


class AugmentedSamples(Dataset[tuple[Tensor, Tensor]]):
    """Samples held decoded in memory, augmented anew at each visit.

    Yields RGB (3, height, width) uint8 and class ids (height, width) uint8.
    """

    def __init__(
        self, samples: list[Sample], taxonomy: Taxonomy, augmentation: Augmentation
    ) -> None:
        self.pairs = [(s.read_image(), s.read_mask(taxonomy)) for s in samples]
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        image, mask = self.augmentation(*self.pairs[index], random)
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask)


def train(config: TrainingConfig, report: Callable[[str], None]) -> Path:
    """Train and return the path of the best checkpoint (``<output>/best.safetensors``).

    ``last.safetensors`` beside it is the newest; both hold the moving average of the weights.
    ``report`` is given a line after each epoch.

    Raises:
        DataError: the data set is not where or what it should be.

    """
    torch.manual_seed(config.seed)
    taxonomy = load_taxonomy(config.dataset)
    samples = list_samples(config.data, 'train')
    validation = [(s.read_image(), s.read_mask(taxonomy)) for s in list_samples(config.data, 'val')]
    dataset = AugmentedSamples(samples, taxonomy, Augmentation(config.height, config.width))
    loader = DataLoader(
        dataset,
        config.batch,
        shuffle=True,
        drop_last=True,
        num_workers=1,
        persistent_workers=True,
        # a fork would inherit locks that OpenCV's threads held, and wait for them forever
        multiprocessing_context='spawn',
        worker_init_fn=_one_thread,
    )
    run = _Run(config, taxonomy, class_weights(dataset.pairs, len(taxonomy.classes)), len(loader))
    best = 0.0
    for epoch in range(1, config.epochs + 1):
        start = time.monotonic()
        loss = float(np.mean([run.step(images, masks) for images, masks in loader]))
        line = f'epoch {epoch}/{config.epochs} loss {loss:.4f}'
        if epoch % config.evaluate_every == 0 or epoch == config.epochs:
            matrix = run.validate(validation)
            run.save('last', epoch, matrix)
            if matrix.mean_iou > best:
                best = matrix.mean_iou
                run.save('best', epoch, matrix)
            line += f' mIoU {100 * matrix.mean_iou:.2f} best {100 * best:.2f}'
        report(f'{line} {time.monotonic() - start:.1f} s')
    return config.output / 'best.safetensors'


def class_weights(pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]], classes: int) -> Tensor:
    """Weigh each class by the inverse root of its frequency; the mean over pixels is one."""
    counts = sum(np.bincount(mask.ravel(), minlength=256)[:classes] for _, mask in pairs)
    share = np.maximum(np.asarray(counts, np.float64), 1.0)
    share /= share.sum()
    weights = share**-0.5
    weights /= (weights * share).sum()
    return torch.from_numpy(weights.astype(np.float32))


class _Run:
    """The state of a run: network, average, optimiser, schedule."""

    def __init__(
        self, config: TrainingConfig, taxonomy: Taxonomy, weights: Tensor, steps_per_epoch: int
    ) -> None:
        self.config = config
        self.taxonomy = taxonomy
        self.device = torch.device(config.device)
        network = variant(
            config.model, classes=len(taxonomy.classes), height=config.height, width=config.width
        )
        self.model = LeMoRe(network, drop_path=config.drop_path).to(self.device)
        # a third faster than planes on a CPU
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(
            self.model, multi_avg_fn=_moving_average(config.average), use_buffers=True
        )
        self.card = ModelCard(
            name=f'lemore_{config.model}_{taxonomy.name}',
            config=network,
            taxonomy=taxonomy,
            licence=LICENCES.get(taxonomy.name, 'unknown: the terms of the training data apply'),
        )
        self.mean = torch.tensor(self.card.mean, device=self.device).view(3, 1, 1)
        self.std = torch.tensor(self.card.std, device=self.device).view(3, 1, 1)
        self.weights = weights.to(self.device)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.model, config.weight_decay), lr=config.rate
        )
        total = steps_per_epoch * config.epochs
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: min((step + 1) / config.warmup, 1.0) * max(1.0 - step / total, 0.0),
        )

    def step(self, images: Tensor, masks: Tensor) -> float:
        self.model.train()
        masks = masks.to(self.device, torch.long)
        logits = functional.interpolate(
            self._logits(self.model, images), size=masks.shape[-2:], mode='bilinear'
        )
        loss = functional.cross_entropy(
            logits, masks, weight=self.weights, ignore_index=UNLABELLED_8BIT
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.schedule.step()
        # early on the average would mostly remember the random start
        steps = int(self.average.n_averaged.item())
        decay = min(self.config.average, (1 + steps) / (10 + steps))
        self.average.multi_avg_fn = _moving_average(decay)
        self.average.update_parameters(self.model)
        return float(loss.item())

    @torch.inference_mode()
    def validate(self, pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> ConfusionMatrix:
        """Evaluate the average at the labels' own resolution."""
        self.average.eval()
        matrix = ConfusionMatrix(len(self.taxonomy.classes))
        size = (self.config.width, self.config.height)
        for image, mask in pairs:
            pixels = torch.from_numpy(cv2.resize(image, size)).permute(2, 0, 1)[None]
            logits = self._logits(self.average.module, pixels)
            labels = functional.interpolate(logits, size=mask.shape, mode='bilinear').argmax(1)
            matrix.add(mask, labels[0].cpu().numpy())
        return matrix

    def save(self, name: str, epoch: int, matrix: ConfusionMatrix) -> None:
        config = {k: str(v) for k, v in dataclasses.asdict(self.config).items()}
        # where the data and the results lie says something about a machine, nothing about the run
        config = {k: v for k, v in config.items() if k not in ('data', 'output')}
        card = dataclasses.replace(
            self.card,
            metrics={'split': 'val', **matrix.figures(self.taxonomy.classes)},
            training={**config, 'epoch': epoch, 'torch': torch.__version__},
        )
        state = self.average.module.state_dict()
        checkpoint.save(self.config.output / f'{name}.safetensors', card, state)

    def _logits(self, model: nn.Module, images: Tensor) -> Tensor:
        pixels = (images.to(self.device).float() - self.mean) / self.std
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.config.bfloat16):
            logits: Tensor = model(pixels)
        return logits.float()


def _moving_average(decay: float) -> Callable[..., None]:
    return cast('Callable[..., None]', get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    # biases, norms and other vectors are not decayed
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    return [
        {'params': matrices, 'weight_decay': weight_decay},
        {'params': vectors, 'weight_decay': 0.0},
    ]


def _one_thread(_: int) -> None:
    # the training step has the cores
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
