"""The README says what the code does."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from lemore_core import checkpoint
from lemore_core.cli.benchmark import MEASUREMENTS
from lemore_core.cli.main import COMMANDS, main
from lemore_core.data.datasets import DATASETS
from lemore_core.inference import BACKENDS
from lemore_core.segmenter import resolve_checkpoint
from lemore_core.training.recipe import RECIPES, Recipe
from lemore_ros.bags.cli.main import COMMANDS as BAG_COMMANDS
from lemore_ros.node.parameter_pages import parameters_page

ROOT = Path(__file__).parents[1]
# what the card of weights says that no labelled image is left to judge
ALL_IMAGES = 'train (all 468 images)'
README = (ROOT / 'README.md').read_text(encoding='utf-8')
TRAINING, SERVING, BAGS = (
    (ROOT / 'docs' / name).read_text(encoding='utf-8')
    for name in ('training.md', 'serving.md', 'bags.md')
)


def test_the_parameters_are_those_of_the_node() -> None:
    page = (ROOT / 'docs' / 'parameters.md').read_text(encoding='utf-8')
    assert page == parameters_page(), 'run python -m lemore_ros.node.parameter_pages'


def test_every_file_it_links_is_there() -> None:
    links = re.findall(r'\]\((?!http)([^)#]+)\)', README)
    assert links
    for link in links:
        assert (ROOT / link).is_file(), link


def test_every_command_it_names_exists() -> None:
    named = set(
        re.findall(r'(?:^|`)lemore ([\w-]+)', README + TRAINING + SERVING + BAGS, re.MULTILINE)
    )
    assert named
    assert named <= {*COMMANDS, 'bag'}
    targets = set(re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))
    assert set(re.findall(r'`make (\w+)', README)) <= targets


def test_every_backend_is_explained() -> None:
    table = SERVING[SERVING.index('| backend |') : SERVING.index('**On a CPU**')]
    assert re.findall(r'^\| `(\w+)`', table, re.MULTILINE) == [*BACKENDS, 'auto']


def test_every_command_for_bags_is_explained() -> None:
    assert set(re.findall(r'^lemore bag (\w+)', BAGS, re.MULTILINE)) == set(BAG_COMMANDS)


def test_every_measurement_is_explained() -> None:
    named = set(re.findall(r'^lemore benchmark ([a-z]\w+)', SERVING, re.MULTILINE))
    assert named | {'steps'} == set(MEASUREMENTS)


def test_every_data_set_and_every_part_of_a_recipe_it_names_exists() -> None:
    table = TRAINING[TRAINING.index('## Data sets') : TRAINING.index('## Training')]
    named = re.findall(r'`(\w+)`', '\n'.join(re.findall(r'^\| (`[^|]+)\|', table, re.MULTILINE)))
    assert sorted(named) == sorted(DATASETS)
    assert set(RECIPES) - {'ade20k_448', 'camvid_general', 'folder_distill'} == set(DATASETS)
    for recipe in re.findall(r'--recipe (\w+)', README + TRAINING):
        assert recipe in (*RECIPES, 'NAME')
    helps = TRAINING[TRAINING.index('| what helps') : TRAINING.index('## Drives')]
    fields = {field.name for field in dataclasses.fields(Recipe)}
    for name in re.findall(r'`([a-z_]+)`', helps):
        assert name in fields


def test_the_model_card_is_the_checkpoints() -> None:
    paths = [resolve_checkpoint(model, 'camvid') for model in ('nano', 'tiny', 'small')]
    cards = [checkpoint.read_card(path) for path in paths]
    images = {'val': 'the 367 of train', ALL_IMAGES: 'all 468 labelled images'}
    used = ' | '.join(images[card.metrics['split']] for card in cards)
    assert f'| trained on | {used} |' in README
    files = ' | '.join(f'{path.stat().st_size / 1e6:.1f} MB' for path in paths)
    assert f'| file | {files} |' in README
    recipes = ' | '.join(', then '.join(_recipes(card.training)) for card in cards)
    assert f'| recipes | {recipes} |' in README


def _recipes(training: Any) -> list[str]:
    """Name the recipes behind weights, the first one first, each once in a row."""
    recipe = training.get('recipe', {})
    name = '`camvid`'
    if recipe.get('light'):
        name = '`camvid_general`' if recipe['paste'] else '`camvid` with `light=true`'
    former = _recipes(training['start']['training']) if 'start' in training else []
    return former if former[-1:] == [name] else [*former, name]


@pytest.mark.parametrize(
    ('without', 'parameters', 'gflops'),
    [
        (('frontal', 'lateral', 'channel-attention', 'nested-attention'), '1.123', '0.694'),
        (('lateral', 'channel-attention'), '1.523', '0.765'),
        ((), '1.603', '0.812'),
    ],
)
def test_the_table_of_the_paper_is_what_info_prints(
    without: tuple[str, ...],
    parameters: str,
    gflops: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = [option for part in without for option in ('--without', part)]
    assert main(['info', '--dataset', 'ade20k', *options, '--json']) == 0
    values = json.loads(capsys.readouterr().out)
    assert f'{values["parameters"] / 1e6:.3f}' == parameters
    assert f'{values["gflops"]:.3f}' == gflops
    assert re.search(rf'\| {parameters} \| [\d.]+ \| {gflops} \|', README)
