from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lemore_core.data.datasets import OWN
from lemore_core.training.recipe import RECIPES, Recipe, RecipeError, load_recipe, parse_changes


@pytest.mark.parametrize('name', RECIPES)
def test_a_built_in_recipe_loads_and_survives_json(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    path = tmp_path / 'recipe.yaml'
    path.write_text(json.dumps(recipe.to_dict()))
    assert load_recipe(str(path)) == recipe
    assert name.startswith(recipe.dataset) or recipe.dataset == OWN


@pytest.mark.parametrize(
    ('name', 'size', 'resize', 'iterations', 'batch', 'rate'),
    [
        ('ade20k', (512, 512), (2048, 512), 160_000, 16, 3e-4),
        ('ade20k_448', (448, 448), (2048, 448), 160_000, 16, 3e-4),
        ('cityscapes', (512, 1024), (1024, 512), 160_000, 8, 3e-4),
        ('pascal_context_59', (480, 480), (520, 520), 80_000, 16, 1.2e-4),
        ('pascal_context_60', (480, 480), (520, 520), 80_000, 16, 1.2e-4),
        ('coco_stuff', (512, 512), (2048, 512), 80_000, 16, 1.2e-4),
    ],
)
def test_a_recipe_is_the_published_one(
    name: str, size: Any, resize: Any, iterations: int, batch: int, rate: float
) -> None:
    changed = {'height': size[0], 'width': size[1], 'resize': resize, 'scale': (0.5, 2.0)}
    changed |= {'iterations': iterations, 'batch': batch, 'learning_rate': rate}
    # the rest are the family's values, which are the defaults but for the head's rate
    assert load_recipe(name) == Recipe(dataset=name.replace('_448', ''), head_rate=10.0, **changed)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'tempo': 3}, r'camvid\.yaml: unknown fields tempo \(there are '),
        ({'batch': 1}, 'batch is 1, allowed: an integer, 2 or more'),
        ({'scale': [2.0, 0.5]}, 'scale is .* in ascending order'),
        ({'network': {'sagittal': True}}, r"network has no part \['sagittal'\], its parts are tra"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe('camvid', changes)


def test_yaml_is_read_as_people_mean_it() -> None:
    # YAML itself takes 1e-3 for text and 1 for an integer
    assert parse_changes(['network={lateral: false}']) == {'network': {'lateral': False}}
    with pytest.raises(RecipeError, match="'rate' sets nothing: write name=value"):
        parse_changes(['rate'])
    with pytest.raises(RecipeError, match=r"'scale=\[0\.5' cannot be read, line"):
        parse_changes(['scale=[0.5'])
    changes = parse_changes(['learning_rate=1e-3', 'lovasz=1', 'scale=1e0, 2', 'resize=null'])
    recipe = load_recipe('folder', {**changes, **parse_changes(['precision=16,batch=32'])})
    assert (recipe.learning_rate, recipe.lovasz, recipe.batch) == (1e-3, 1.0, 32)
    assert (recipe.scale, recipe.resize, recipe.precision) == ((1.0, 2.0), None, '16')


def test_the_crop_of_one_camera_is_what_images_are_resized_to() -> None:
    portrait = load_recipe('folder', {'height': 640, 'width': 360})
    assert portrait.resize == (640, 360)
    assert load_recipe('ade20k', {'height': 256, 'width': 256}).resize == (2048, 512)
    own = {'height': 256, 'width': 256, 'resize': [1024, 512]}
    assert load_recipe('folder', own).resize == (1024, 512)
    own = {'height': 288, 'resize': [384, 288]}
    assert load_recipe('folder', own).resize == (384, 288)


def test_a_recipe_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text('dataset: folder\nmodel: nano\n')
    assert load_recipe(str(path), {'seed': 3}) == Recipe(dataset='folder', model='nano', seed=3)
    path.write_text('- a list\n')
    with pytest.raises(RecipeError, match=r"is \['a list'\], allowed: fields and their values"):
        load_recipe(str(path))
    with pytest.raises(RecipeError, match="no recipe is called 'kitti': give one of ade20k"):
        load_recipe('kitti')
