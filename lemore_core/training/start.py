"""Prepare a run: hardware, output folder, starting weights, record of its origin."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import cv2
import lightning
import numpy as np
import torch
from lightning.pytorch import seed_everything

from lemore_core import checkpoint
from lemore_core.common.errors import LemoreError, refusing
from lemore_core.common.files import hash_of, write_whole
from lemore_core.common.memory import keep_freed_memory, thread_counts
from lemore_core.common.yaml_file import dump_yaml
from lemore_core.data.origin import ORIGIN, read_origin
from lemore_core.model.cartesian_encoder import AxisMixing, resample_axis_weight
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import size_of
from lemore_core.training.recipe import Recipe, load_recipe
from lemore_core.training.task import STATE

RECIPE_FILE = 'recipe.yaml'


class TrainingError(LemoreError):
    """A run that cannot start with these options, in this folder or from these weights."""


@dataclass(frozen=True)
class Hardware:
    """Hardware of a run: ``devices`` processes on each of ``nodes`` machines.

    ``accelerator`` is cpu, gpu or auto; ``workers`` is the number of loading processes for each
    device, None for as many as fit the machine.
    """

    accelerator: str = 'auto'
    devices: int = 1
    nodes: int = 1
    workers: int | None = None

    @property
    def processes(self) -> int:
        """The number of training processes."""
        return self.devices * self.nodes

    @property
    def uses_gpu(self) -> bool:
        """Whether the network is trained on a GPU."""
        auto = self.accelerator == 'auto' and torch.cuda.is_available()
        return auto or self.accelerator == 'gpu'

    @property
    def loaders(self) -> int:
        """The number of loading processes for each training process."""
        if self.workers is not None:
            return self.workers
        cores = thread_counts()[-1]
        # on a CPU the training step needs the cores: one loader keeps up with it
        return max(1, min(8, (cores - 1) // self.devices)) if self.uses_gpu else 1


@dataclass(frozen=True)
class TrainingRun:
    """A recipe, a data set and an output folder.

    ``resume`` continues the run in ``output``, ``start`` is a checkpoint to start from. ``check``
    reads every file of the data set before the first step. ``seconds`` is the run's total time: the
    clock then ends it instead of the iterations, and the learning rate follows the clock.
    """

    recipe: Recipe
    data: Path
    output: Path
    hardware: Hardware = Hardware()
    _: KW_ONLY
    resume: bool = False
    check: bool = True
    seconds: float | None = None
    start: Path | None = None


def set_up(run: TrainingRun) -> Path | None:
    """Prepare folder and process for a run; return the state to resume from, None for a new run."""
    if run.recipe.batch % run.hardware.processes:
        msg = f'batch is {run.recipe.batch}, {run.hardware.processes} processes cannot share it'
        raise TrainingError(msg)
    state = run.output / STATE
    if run.resume:
        _require_resumable(run, state)
    elif state.exists() and is_first_here():
        # the other processes of a run find what the first one wrote
        msg = f'{run.output} holds a run already: --resume it, or choose another folder'
        raise TrainingError(msg)
    write_whole(run.output / RECIPE_FILE, dump_yaml(run.recipe.to_dict()))
    if not run.hardware.uses_gpu:
        keep_freed_memory(all_blocks=True)
        if 'OMP_NUM_THREADS' not in os.environ:
            cores = thread_counts()[-1] // run.hardware.devices
            torch.set_num_threads(max(1, cores - run.hardware.loaders))
    # Lightning's advertisements and notes; warnings and errors stay
    logging.getLogger('lightning.pytorch').setLevel(logging.WARNING)
    warnings.filterwarnings('ignore', message='.*LeafSpec.*', category=FutureWarning)
    # the order of the images follows from the step
    warnings.filterwarnings('ignore', message='.*your dataloader is not resumable.*')
    seed_everything(run.recipe.seed, verbose=False)
    return state if run.resume else None


def _require_resumable(run: TrainingRun, state: Path) -> None:
    if not state.is_file():
        msg = f'{run.output} holds no {STATE} to resume from: start without --resume'
        raise TrainingError(msg)
    wrong = f'{state} is damaged or no state of a run: start anew in another folder'
    with refusing(wrong, TrainingError):
        # plain tensors and numbers: a state can run no code
        torch.load(state, weights_only=True, mmap=True)['global_step']
    recipe_file = run.output / RECIPE_FILE
    before = load_recipe(str(recipe_file)).to_dict()
    now = run.recipe.to_dict()
    other = [key for key in now if key != 'iterations' and before[key] != now[key]]
    if other:
        msg = f'{recipe_file} differs from this recipe in {", ".join(other)}: resume with its own'
        raise TrainingError(msg)


def is_first_here() -> bool:
    """Return whether this is the first of the run's processes on this machine."""
    return int(os.environ.get('LOCAL_RANK', '0')) == 0


def is_first() -> bool:
    """Return whether this is the first of the run's processes on all machines."""
    return is_first_here() and int(os.environ.get('RANK', os.environ.get('NODE_RANK', '0'))) == 0


def starting_model(start: Path, model: str | None) -> str | None:
    """Return the size of a checkpoint to start from; refuse another ``model``, None for any."""
    found = size_of(checkpoint.read_card(start).config)
    if found and model and found != model:
        msg = (
            f'{start} is a {found}, --model is {model}: leave --model out, or start from a {model}'
        )
        raise TrainingError(msg)
    return model or found


def origin(run: TrainingRun) -> dict[str, Any]:
    """Return the record of a run's origin for its checkpoints, enough to start it again."""
    record: dict[str, Any] = {'recipe': run.recipe.to_dict(), 'versions': versions()}
    if (run.data / ORIGIN).is_file():
        record |= read_origin(run.data / ORIGIN).to_dict()
    if run.seconds is not None:
        record['seconds'] = run.seconds
    if run.start is not None:
        record['start'] = {
            'name': run.start.name,
            'sha256': hash_of(run.start),
            # with the whole history before it, since the file itself may be lost
            'training': dict(checkpoint.read_card(run.start).training),
        }
    return record


def versions() -> dict[str, str]:
    """Return the versions of Python and the packages of a training, and the source's commit."""
    modules = {'torch': torch, 'lightning': lightning, 'numpy': np, 'opencv': cv2}
    found = {name: str(module.__version__) for name, module in modules.items()}
    return {'python': platform.python_version(), **found, 'commit': _commit()}


def _commit() -> str:
    git = ['git', '-C', str(Path(__file__).parent)]
    # an installed package may lie inside another project's checkout
    own = ['ls-files', '--error-unmatch', __file__]
    describe = ['describe', '--always', '--abbrev=40', '--exclude=*', '--dirty=+changes']
    try:
        subprocess.run([*git, *own], check=True, capture_output=True)
        done = subprocess.run([*git, *describe], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'
    return done.stdout.strip()


@torch.no_grad()
def initialise(network: LeMoRe, path: Path, report: Callable[[str], None]) -> None:
    """Copy into ``network`` every tensor of a checkpoint that fits it.

    Axis weights are resampled to the network's size. Parts that the checkpoint lacks or has in
    another shape (a classifier of other classes) keep their random start and are reported.
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
            'start from a checkpoint of the same --model'
        )
        raise TrainingError(msg)
    network.load_state_dict(state)
    parts = sorted({'.'.join(name.split('.')[:2]) for name in kept})
    report(f'starting from {path.name}' + (f'; {", ".join(parts)} start anew' if parts else ''))
