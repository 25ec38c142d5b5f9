"""Save and load checkpoints: safetensors files with a model card, which cannot run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemore_core.common.errors import LemoreError, in_one_line, refusing
from lemore_core.common.files import atomic_write, open_regular, write_whole
from lemore_core.common.limits import MAX_MODEL_BYTES, parse_json
from lemore_core.common.validation import check_fields, from_mapping, option
from lemore_core.familiarity import SceneStatistics
from lemore_core.model.imported import KIND, ImportedConfig
from lemore_core.model.variants import LeMoReConfig
from lemore_core.taxonomy import Taxonomy

if TYPE_CHECKING:
    from torch import Tensor

    from lemore_core.model.lemore import LeMoRe

FORMAT = 'lemore/1'
KEYS = ('name', 'network', 'taxonomy', 'normalisation', 'metrics', 'licence', 'training')
SCENES = 'scenes'  # a key that older files lack
PICKLED = ('.pt', '.pth', '.ckpt', '.pkl', '.bin')

RGB = tuple[float, float, float]


class CheckpointError(LemoreError):
    """A checkpoint that is missing, damaged, of another kind, or contradicts itself."""


@dataclass(frozen=True)
class ModelCard:
    """Description of a network: classes, normalisation, measurements, licence, training.

    ``mean`` and ``std`` normalise RGB values of 0..255; ``licence`` is that of the weights;
    ``scenes`` are statistics of the training images, see :mod:`lemore_core.familiarity`.
    """

    name: str
    config: LeMoReConfig | ImportedConfig
    taxonomy: Taxonomy
    licence: str
    mean: tuple[float, float, float] = option((123.675, 116.28, 103.53), low=-255, high=510)
    std: tuple[float, float, float] = option((58.395, 57.12, 57.375), low=1e-3, high=1e3)
    metrics: Mapping[str, Any] = option({})
    training: Mapping[str, Any] = option({})
    scenes: SceneStatistics | None = None

    def __post_init__(self) -> None:
        check_fields(self, CheckpointError)
        if self.config.classes != len(self.taxonomy.classes):
            dataset = f'{self.taxonomy.name!r} has {len(self.taxonomy.classes)} classes'
            msg = f'the network has {self.config.classes} classes, dataset {dataset}'
            raise CheckpointError(msg)
        if self.scenes is not None and self.scenes.size != self.config.descriptor:
            found = f'descriptors of {self.scenes.size} numbers, it has {self.config.descriptor}'
            msg = f'the scene statistics are of another network: of {found}; measure them again'
            raise CheckpointError(msg)

    def to_metadata(self) -> dict[str, str]:
        """Return the card as string pairs, the metadata of safetensors and ONNX."""
        values = {
            'name': self.name,
            'network': self.config.to_dict(),
            'taxonomy': self.taxonomy.to_dict(),
            'normalisation': {'mean': self.mean, 'std': self.std},
            'metrics': dict(self.metrics),
            'licence': self.licence,
            'training': dict(self.training),
        }
        if self.scenes is not None:
            values[SCENES] = asdict(self.scenes)
        return {'format': FORMAT, **{key: json.dumps(value) for key, value in values.items()}}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], source: str) -> ModelCard:
        """Read the metadata of :meth:`to_metadata`; ``source`` names the file in errors."""
        found = metadata.get('format')
        if found != FORMAT:
            msg = f'{source} is no LeMoRe checkpoint: its format is {found!r}, not {FORMAT!r}'
            raise CheckpointError(msg)
        try:
            # other tools add keys of their own
            values = {key: parse_json(metadata[key]) for key in KEYS}
            found, network = values.pop('normalisation'), values.pop('network')
            scenes = parse_json(metadata[SCENES]) if SCENES in metadata else None
            is_imported = isinstance(network, Mapping) and network.get('kind') == KIND
            return cls(
                config=(ImportedConfig if is_imported else LeMoReConfig).from_dict(network),
                taxonomy=Taxonomy.from_dict(values.pop('taxonomy'), 'taxonomy'),
                mean=tuple(found['mean']),
                std=tuple(found['std']),
                scenes=scenes and from_mapping(SceneStatistics, scenes, SCENES, CheckpointError),
                **values,
            )
        except (KeyError, TypeError, ValueError) as error:
            msg = f'{source}: its metadata is incomplete or malformed: {in_one_line(error)}'
            raise CheckpointError(msg) from error
        except LemoreError as error:
            msg = f'{source}: {error}'
            raise CheckpointError(msg) from error


def save(path: Path, card: ModelCard, state: Mapping[str, Tensor]) -> None:
    """Write a checkpoint, whole or not at all.

    Weights of more than one dimension are stored in half precision, biases and BatchNorm
    statistics in single precision.

    Raises:
        CheckpointError: the file cannot be written.
    """
    from safetensors.torch import save_file

    tensors = {}
    for name, tensor in state.items():
        is_weight = tensor.is_floating_point() and tensor.dim() > 1
        tensors[name] = (tensor.half() if is_weight else tensor).contiguous()
    writing = refusing(f'{path} cannot be written, what was there is kept', CheckpointError)
    with writing, atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata=card.to_metadata())


def store_scenes(path: Path, scenes: SceneStatistics) -> None:
    """Write the statistics into the card of a checkpoint or ONNX file; the rest is kept."""
    text = json.dumps(asdict(scenes))
    if path.suffix == '.onnx':
        import onnx

        model = onnx.load(path)
        metadata = {entry.key: entry.value for entry in model.metadata_props} | {SCENES: text}
        ModelCard.from_metadata(metadata, str(path))
        onnx.helper.set_model_props(model, metadata)
        write_whole(path, model.SerializeToString(deterministic=True))
        return
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(path, framework='numpy') as file:
        metadata = (file.metadata() or {}) | {SCENES: text}
    ModelCard.from_metadata(metadata, str(path))
    with atomic_write(path) as temporary:
        save_file(load_file(path), temporary, metadata=metadata)


def read_card(path: Path) -> ModelCard:
    """Read the card of a checkpoint, without torch."""
    from safetensors import safe_open

    if path.suffix in PICKLED:
        msg = (
            f'{path} is a pickle, which can run any code when it is read, so it is refused. '
            'Convert it: read it with torch.load(path, weights_only=True) and write the tensors '
            'with lemore_core.checkpoint.save'
        )
        raise CheckpointError(msg)
    if not path.exists():
        msg = f'there is no checkpoint {path}'
        raise CheckpointError(msg)
    if path.suffix == '.onnx':
        msg = f'{path} is an ONNX file, which is served as it is: this takes a .safetensors file'
        raise CheckpointError(msg)
    with refusing(f'the checkpoint {path} cannot be read', CheckpointError):
        open_regular(path, MAX_MODEL_BYTES).close()
    with _reading(path), safe_open(path, framework='numpy') as file:
        metadata = file.metadata() or {}
    return ModelCard.from_metadata(metadata, str(path))


def load(path: Path) -> tuple[ModelCard, LeMoRe]:
    """Load a checkpoint: its card, and the network in single precision and evaluation mode."""
    import torch
    from safetensors.torch import load_file

    from lemore_core.model.lemore import LeMoRe

    card = read_card(path)
    with _reading(path):
        state = load_file(path)
    if isinstance(card.config, ImportedConfig):
        msg = f'{path} is an imported network: it is an .onnx file, not a checkpoint'
        raise CheckpointError(msg)
    with torch.device('meta'):
        model = LeMoRe(card.config)
    expected = model.state_dict()
    _check_tensors(path, expected, state)
    state = {name: tensor.to(expected[name].dtype) for name, tensor in state.items()}
    model.load_state_dict(state, assign=True)
    return card, model.eval()


def _check_tensors(path: Path, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            msg = f'{path}: tensor {name} is missing'
        elif name not in expected:
            msg = f'{path}: tensor {name} has no place in the network that its metadata describes'
        elif found[name].shape != expected[name].shape:
            msg = (
                f'{path}: tensor {name} has shape {tuple(found[name].shape)}, '
                f'its metadata asks for {tuple(expected[name].shape)}'
            )
        elif found[name].is_floating_point() != expected[name].is_floating_point():
            msg = f'{path}: tensor {name} is {found[name].dtype}, not {expected[name].dtype}'
        elif not found[name].isfinite().all():
            msg = f'{path}: tensor {name} holds NaN or infinite numbers: the training diverged'
        elif name.endswith('running_var') and found[name].min() < 0:
            msg = f'{path}: tensor {name} holds negative variances'
        else:
            continue
        raise CheckpointError(msg)


def _reading(path: Path) -> AbstractContextManager[None]:
    wrong = f'{path} is no readable safetensors file, perhaps truncated: copy it again'
    return refusing(wrong, CheckpointError)
