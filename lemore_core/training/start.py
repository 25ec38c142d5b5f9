"""What a run is given, and how it starts: the machine, its folder, the state to go on from."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import torch
import yaml
from lightning.pytorch import seed_everything

from lemore_core.checkpoint import read_card
from lemore_core.common.errors import LemoreError
from lemore_core.common.files import write_whole
from lemore_core.common.memory import keep_freed_memory
from lemore_core.common.yaml_file import read_yaml
from lemore_core.training.callbacks import STATE
from lemore_core.training.initialise import sha256
from lemore_core.training.recipe import Recipe, RecipeError

RECIPE_FILE = 'recipe.yaml'


class TrainingError(LemoreError):
    """A run that cannot start where or as it was asked to."""


@dataclass(frozen=True)
class Hardware:
    """What a run gets: ``devices`` processes on each of ``nodes`` machines.

    ``accelerator`` is cpu, gpu or auto; ``workers`` loading processes for each of them, None for
    what fits the machine.
    """

    accelerator: str = 'auto'
    devices: int = 1
    nodes: int = 1
    workers: int | None = None

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return self.devices * self.nodes

    @property
    def uses_gpu(self) -> bool:
        """Whether the network is trained on a GPU."""
        return self.accelerator == 'gpu' or (
            self.accelerator == 'auto' and torch.cuda.is_available()
        )

    @property
    def loaders(self) -> int:
        """Loading processes for each training process."""
        if self.workers is not None:
            return self.workers
        cores = os.cpu_count() or 1
        # a CPU's cores are the training step's: one loader is enough for it
        return max(1, min(8, (cores - 1) // self.devices)) if self.uses_gpu else 1


@dataclass(frozen=True)
class TrainingRun:
    """A run to be done.

    ``resume`` goes on with the run in ``output``. ``check`` reads every file of the data set before
    the first step. ``seconds`` are the run's time, in all: it then ends by the clock, and its
    learning rate with it, however many steps that are. ``start`` is a checkpoint to start from,
    ``teacher`` an ONNX or TorchScript file to learn from.
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
    teacher: Path | None = None


def set_up(run: TrainingRun) -> Path | None:
    """Prepare folder and process for a run, and return the state to resume from, if it is to.

    Raises:
        TrainingError: see :func:`prepare_output`.
    """
    state = prepare_output(run)
    if not run.hardware.uses_gpu:
        keep_freed_memory(all_blocks=True)
    quieten_lightning()
    seed_everything(run.recipe.seed, verbose=False)
    return state


def prepare_output(run: TrainingRun) -> Path | None:
    """Make the folder of the run, and return the state to resume from, if it is to.

    Raises:
        TrainingError: the batch cannot be shared out, or the folder holds another run, or none.
    """
    if run.recipe.batch % run.hardware.processes:
        msg = f'batch is {run.recipe.batch}, {run.hardware.processes} processes cannot share it'
        raise TrainingError(msg)
    state, recipe_file = run.output / STATE, run.output / RECIPE_FILE
    if run.resume:
        if not state.is_file():
            msg = f'{run.output} holds no {STATE} to resume from: start without --resume'
            raise TrainingError(msg)
        written = read_yaml(recipe_file, 'recipe', RecipeError)
        before = Recipe.from_record(written, str(recipe_file)).to_dict()
        fixed = {key: value for key, value in run.recipe.to_dict().items() if key != 'iterations'}
        other = [key for key, value in fixed.items() if before[key] != value]
        if other:
            msg = (
                f'{recipe_file} differs from this recipe in {", ".join(other)}: resume with its own'
            )
            raise TrainingError(msg)
        _write_recipe(run)
        return state
    # the other processes of a run find what the first one wrote
    if state.exists() and is_first_here():
        msg = f'{run.output} holds a run already: --resume it, or choose another folder'
        raise TrainingError(msg)
    _write_recipe(run)
    return None


def _write_recipe(run: TrainingRun) -> None:
    write_whole(run.output / RECIPE_FILE, yaml.safe_dump(run.recipe.to_dict(), sort_keys=False))


def is_first_here() -> bool:
    """Return whether this is the first of the run's processes on this machine."""
    return int(os.environ.get('LOCAL_RANK', '0')) == 0


def quieten_lightning() -> None:
    """Keep Lightning's advertisements and notes off the terminal; warnings and errors stay."""
    logging.getLogger('lightning.pytorch').setLevel(logging.WARNING)
    warnings.filterwarnings('ignore', message='.*LeafSpec.*', category=FutureWarning)


def reproduced(path: Path, start: Path | None, teacher: Path | None) -> Recipe:
    """Return the recipe of the run that made a checkpoint.

    Raises:
        CheckpointError: the file is no checkpoint.
        TrainingError: its run is not recorded, or started from or learned from another file.
    """
    record = read_card(path).training
    if 'recipe' not in record:
        msg = f'{path} does not record the recipe of its run'
        raise TrainingError(msg)
    for name, given in (('start', start), ('teacher', teacher)):
        recorded = record.get(name)
        if recorded is None and given is not None:
            msg = f'{path} was trained without --{name}'
            raise TrainingError(msg)
        if recorded is not None and (given is None or sha256(given) != recorded['sha256']):
            msg = (
                f'{path} was trained with --{name} {recorded["name"]} '
                f'(SHA-256 {recorded["sha256"]}), not {given}'
            )
            raise TrainingError(msg)
    return Recipe.from_record(record['recipe'], str(path))
