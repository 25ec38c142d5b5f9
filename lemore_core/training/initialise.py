"""Start a network from the weights of a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch

from lemore_core import checkpoint
from lemore_core.common.errors import LemoreError
from lemore_core.model.cartesian_encoder import AxisMixing, resample_axis_weight
from lemore_core.model.lemore import LeMoRe


class InitialiseError(LemoreError):
    """Weights of another model size."""


@torch.no_grad()
def initialise(network: LeMoRe, path: Path, report: Callable[[str], None]) -> None:
    """Copy into ``network`` every tensor of a checkpoint that fits it.

    Axis weights are resampled to the network's size. Parts that the checkpoint lacks or has in
    another shape (a classifier of other classes) keep their random start and are reported.

    Raises:
        CheckpointError: the file is missing, damaged, or not LeMoRe's.
        InitialiseError: the encoder does not fit: another model size.
    """
    card, source = checkpoint.load(path)
    found = dict(source.state_dict())
    axes = {f'{name}.weight' for name, m in network.named_modules() if isinstance(m, AxisMixing)}
    state = network.state_dict()
    kept = []
    for name, tensor in state.items():
        value = found.get(name)
        if value is not None and name in axes:
            value = resample_axis_weight(value, tensor.shape[0])
        if value is None or value.shape != tensor.shape:
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
    """Return the SHA-256 of a file, the identity of weights in the records of checkpoints."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
