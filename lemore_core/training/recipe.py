"""Settings of a training run, read from YAML."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lemore_core.common.errors import LemoreError
from lemore_core.common.validation import check_fields, from_mapping, option
from lemore_core.common.yaml_file import ShippedFiles, parse_yaml
from lemore_core.model.variants import LeMoReConfig

_SHIPPED = ShippedFiles('lemore_core.training', 'recipes', 'recipe', 'no recipe is called')
RECIPES = _SHIPPED.names
PRECISIONS: dict[str, Any] = {'32': '32-true', 'bf16': 'bf16-mixed', '16': '16-mixed'}
SWITCHES = [
    part.name for part in dataclasses.fields(LeMoReConfig) if isinstance(part.default, bool)
]


class RecipeError(LemoreError):
    """A recipe that does not exist, or with a field that is unknown or out of bounds."""


@dataclass(frozen=True)
class Recipe:
    """The settings of a run, which its checkpoints record.

    Iterations are optimiser steps and ``batch`` is the number of images in one, over all devices,
    so that a recipe says the same on one machine and on many.
    """

    model: str = option('tiny', 'nano, tiny, small or base')
    network: Mapping[str, bool] = option({}, 'parts switched on or off, such as lateral: false')
    iterations: int = option(12_000, 'optimiser steps', low=1)
    batch: int = option(16, 'images in a step, over all devices', low=2)
    learning_rate: float = option(3e-4, "AdamW's, after the warm-up", low=0, high=1)
    weight_decay: float = option(0.01, "AdamW's, none on norms and biases", low=0, high=1)
    warmup: int = option(1500, 'steps in which the learning rate rises from 1e-6', low=0)
    poly_power: float = option(1.0, 'power of the decay of the learning rate', low=0, high=10)
    grad_clip_norm: float = option(5.0, "bound of the gradient's norm, 0 for none", low=0)
    dropout: float = option(0.1, 'before the classifier', low=0, high=0.9)
    drop_path: float = option(0.1, 'in the bottleneck', low=0, high=0.9)
    ema_decay: float = option(0.999, 'decay of the moving average of the weights', low=0, high=1)
    precision: str = option('32', '32, bf16 or 16 (mixed, for GPUs)', choices=tuple(PRECISIONS))
    validate_every: int = option(4000, 'steps between two validations', low=1)
    save_every: int = option(1000, 'steps between two saved states', low=1)
    seed: int = option(0, 'of initialisation, order and augmentation', low=0)
    dataset: str = option('camvid', 'data set, by name')
    hold_out: str = option('', 'drive to validate on, trained on all others; empty: the splits')
    height: int = option(360, 'crop height in pixels', low=32, high=8192)
    width: int = option(480, 'crop width in pixels', low=32, high=8192)
    resize: tuple[int, int] | None = option(
        None, 'long and short side to fit images to first', low=1
    )
    scale: tuple[float, float] = option((0.5, 2.0), 'random', low=0.1, high=8)
    shrink: float = option(
        1.0, 'smallest crop by the largest; a step has one size', low=0.25, high=1
    )
    light: bool = option(False, 'augment by light from noon to dusk, blur, noise and JPEG')
    paste: float = option(0.0, 'chance to get the rare objects of another image', low=0, high=1)
    rare: float = option(0.03, 'share of the pixels below which a class is rare', low=0, high=1)
    head_rate: float = option(1.0, "factor of the head's learning rate", low=0, high=100)
    class_weights: float = option(0.0, 'power of the inverse frequency, 0 for none', low=0, high=1)
    lovasz: float = option(0.0, 'weight of Lovász-softmax beside the cross-entropy', low=0)
    loss_stride: int = option(1, 'the loss looks at every n-th row and column', low=1, high=8)
    distill: float = option(1.0, 'weight of soft labels, where the data set has them', low=0)
    hard: float = option(0.5, 'weight of the masks beside soft labels', low=0)
    temperature: float = option(1.0, 'softens soft labels', low=0.1, high=100)

    def __post_init__(self) -> None:
        check_fields(self, RecipeError)
        if self.scale[0] > self.scale[1]:
            msg = f'scale is {self.scale}, allowed: two numbers in ascending order'
            raise RecipeError(msg)
        unknown = sorted(set(self.network) - set(SWITCHES))
        if unknown:
            msg = f'network has no part {unknown}, its parts are {", ".join(SWITCHES)}'
            raise RecipeError(msg)

    @property
    def crop(self) -> tuple[int, int]:
        """The long and the short side of the crop in pixels."""
        return max(self.height, self.width), min(self.height, self.width)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON and YAML hold."""
        values = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def load_recipe(name: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Load a built-in recipe by name, or the user's own from a YAML file.

    ``changes`` replaces some of its fields. Where ``resize`` is the size of the crop, as for images
    of one camera, it follows a new ``height`` and ``width`` unless it is given as well.

    Raises:
        RecipeError: there is no such recipe, or it is malformed.
    """
    values, source = _SHIPPED.read(name, RecipeError)
    recipe = from_mapping(Recipe, values, source, RecipeError)
    if not changes:
        return recipe
    changed = from_mapping(Recipe, {**values, **changes}, source, RecipeError)
    if recipe.resize == recipe.crop and 'resize' not in changes:
        return dataclasses.replace(changed, resize=changed.crop)
    return changed


def parse_changes(texts: list[str]) -> dict[str, Any]:
    """Return the fields that ``name=value`` texts set; values are YAML."""
    changes = {}
    fields = [field for text in texts for field in re.split(r',(?=\w+=)', text)]
    for text in fields:
        name, separator, value = text.partition('=')
        if not separator:
            msg = f'{text!r} sets nothing: write name=value, such as learning_rate=1e-3'
            raise RecipeError(msg)
        is_list = ',' in value and value.lstrip()[:1] not in ('[', '{', '"', "'")
        value = f'[{value}]' if is_list else value  # resize=480,360
        changes[name] = parse_yaml(value, repr(text), RecipeError)
    return changes
