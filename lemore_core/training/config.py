"""What a training run is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a run; recorded in the checkpoints that it writes.

    ``rate`` is AdamW's learning rate after ``warmup`` steps. ``average`` is the decay of the moving
    average of the weights, which is what is evaluated and saved. ``bfloat16`` computes the network
    in bfloat16; weights, loss and optimiser stay in single precision.
    It is meant for GPUs: on a CPU, torch 2.13 gave gradients that were at times not finite.
    """

    data: Path
    output: Path
    model: str = 'tiny'
    dataset: str = 'camvid'
    height: int = 360
    width: int = 480
    epochs: int = 115
    batch: int = 8
    rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: int = 300
    average: float = 0.998
    drop_path: float = 0.05
    evaluate_every: int = 5
    seed: int = 0
    device: str = 'cpu'
    bfloat16: bool = False
