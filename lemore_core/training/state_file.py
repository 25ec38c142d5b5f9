"""The state of an unfinished run, in a file that cannot run code.

Lightning's own state files are pickles. Here the tensors go into safetensors, and everything else
(counters, optimiser settings) as JSON into its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import CheckpointIO
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lemore_core.checkpoint import write_tensors
from lemore_core.common.errors import LemoreError, in_one_line

FORMAT = 'lemore-run/1'


class StateError(LemoreError):
    """A state file that is missing, damaged, or of another kind."""


class SafeStateFile(CheckpointIO):
    """Writes and reads Lightning's state without pickling."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write the state, whole or not at all."""
        del storage_options
        tensors: dict[str, Tensor] = {}
        tree = _flatten(checkpoint, tensors)
        write_tensors(Path(path), tensors, {'format': FORMAT, 'tree': json.dumps(tree)})

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the state; its tensors are on the CPU.

        Raises:
            StateError: the file is missing, damaged, or no state of a run.
        """
        del map_location, weights_only
        try:
            with safe_open(path, framework='pt') as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            msg = f'{path} is no readable state of a run: {error}'
            raise StateError(msg) from error
        if metadata.get('format') != FORMAT:
            msg = f'{path} is no state of a run: its format is {metadata.get("format")!r}'
            raise StateError(msg)
        try:
            values: dict[str, Any] = _restore(json.loads(metadata['tree']), tensors)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            msg = f'{path} is a damaged state of a run: {in_one_line(error)}'
            raise StateError(msg) from error
        return values

    def remove_checkpoint(self, path: Any) -> None:
        """Remove the file, if it is there."""
        Path(path).unlink(missing_ok=True)


def _flatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return ``value`` as JSON holds it; tensors move to ``tensors`` and leave their name."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # a copy: safetensors refuses tensors that share memory
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {'tensor': name}
    if isinstance(value, Mapping):
        # as pairs, since JSON's keys are text and the optimiser's are numbers
        return {'pairs': [[k, _flatten(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        items = [_flatten(v, tensors) for v in value]
        return {'tuple': items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, bool | int | float | str):
        return value
    msg = f'the state of the run holds a {type(value).__name__}, which cannot be written as JSON'
    raise StateError(msg)


def _restore(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_restore(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if 'tensor' in value:
        return tensors[value['tensor']]
    if 'tuple' in value:
        return tuple(_restore(v, tensors) for v in value['tuple'])
    return {k: _restore(v, tensors) for k, v in value['pairs']}
