"""Weights to start from: another checkpoint's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from lemore_core import checkpoint
from lemore_core.common.errors import LemoreError
from lemore_core.model.cartesian_encoder import AxisMixing, resample_axis_weight
from lemore_core.model.lemore import LeMoRe


class InitialiseError(LemoreError):
    """Weights that do not fit the network that shall start from them."""


def initialise(network: LeMoRe, path: Path, report: Callable[[str], None]) -> None:
    """Copy into ``network`` every tensor of a checkpoint that fits it.

    Axis weights are resampled to the network's size. What the checkpoint lacks or has in another
    shape (a classifier of other classes) keeps its random start
    and is reported.

    Raises:
        CheckpointError: the file is missing, damaged, or not LeMoRe's.
        InitialiseError: not even the encoder fits, so it is another model size.
    """
    card, source = checkpoint.load(path)
    found = dict(source.state_dict())
    axes = {f'{name}.weight' for name, m in network.named_modules() if isinstance(m, AxisMixing)}
    state = network.state_dict()
    kept = []
    for name, tensor in state.items():
        value = _fitting(found.get(name), tensor, is_axis=name in axes)
        if value is None:
            kept.append(name)
        else:
            state[name] = value
    encoder = [name for name in kept if name.startswith(('stem.', 'stages.', 'bottleneck.'))]
    if encoder:
        msg = (
            f'{path} holds {card.name}, whose {encoder[0]} does not fit this network: '
            'start from a checkpoint of the same model size'
        )
        raise InitialiseError(msg)
    network.load_state_dict(state)
    parts = sorted({'.'.join(name.split('.')[:2]) for name in kept})
    report(f'starting from {path.name}' + (f'; {", ".join(parts)} start anew' if parts else ''))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, by which checkpoints record what they started from."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fitting(value: Tensor | None, like: Tensor, *, is_axis: bool) -> Tensor | None:
    if value is not None and is_axis:
        with torch.no_grad():
            value = resample_axis_weight(value, like.shape[0])
    return value if value is not None and value.shape == like.shape else None
