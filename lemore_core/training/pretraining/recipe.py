"""The recipe of a pre-training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lemore_core.system.shipped import ShippedFiles
from lemore_core.training.recipe import BaseRecipe, RecipeError, with_changes
from lemore_core.validation import option

_SHIPPED = ShippedFiles(
    'lemore_core.training.pretraining', '', 'recipe', 'no recipe of a pre-training is called'
)


@dataclass(frozen=True)
class PretrainRecipe(BaseRecipe):
    """The settings of a pre-training, which its checkpoints record."""

    size: int = option(224, 'side of the square that the network sees', low=32, high=8192)
    scale: tuple[float, float] = option(
        (0.08, 1.0),
        "range of the random window's share of the area",
        low=0.001,
        high=1,
        ascending=True,
    )
    ratio: tuple[float, float] = option(
        (3 / 4, 4 / 3),
        "range of the window's width over its height",
        low=0.1,
        high=10,
        ascending=True,
    )
    smoothing: float = option(0.1, 'share of the label that all classes get', low=0, high=0.9)


def load_pretrain_recipe(changes: Mapping[str, Any]) -> PretrainRecipe:
    """Return the recipe for ImageNet with some of its fields replaced.

    Raises:
        RecipeError: a field is unknown, of another type or out of bounds.

    """
    return with_changes(PretrainRecipe, *_SHIPPED.read('imagenet', RecipeError), changes)
