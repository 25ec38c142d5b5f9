from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from lemore_core.checkpoint import read_card
from lemore_core.evaluation.scenes import CORRUPTIONS
from lemore_core.taxonomy import load_taxonomy


@pytest.fixture
def command(untrained_checkpoint: Path, small_camvid: Path) -> list[str]:
    model = ['--model', str(untrained_checkpoint), '--backend', 'torch', '--device', 'cpu']
    return ['evaluate', *model, '--data', str(small_camvid)]


def test_json_holds_the_figures_and_every_image(command: list[str], lemore: Any) -> None:
    values = lemore(*command, '--json').json()
    assert values['model'] == 'untrained'
    assert (values['dataset'], values['split'], values['images']) == ('camvid', 'val', 3)
    assert values['backend'] == 'torch cpu'
    assert values['views'] == 'single scale'
    assert 0 <= values['mean_iou'] <= values['mean_accuracy'] <= 1
    assert set(values['iou']) == set(values['accuracy']) == set(values['classes'])
    scores = [image['mean_iou'] for image in values['per_image']]
    assert scores == sorted(scores)
    assert len(scores) == 3
    values = lemore(*command, '--flip', '--scales', '0.5,1', '--limit', '1', '--json').json()
    assert values['views'] == 'scales 0.5, 1; flip'


def test_a_report_is_written_beside_a_table(
    command: list[str], tmp_path: Path, lemore: Any
) -> None:
    path = tmp_path / 'new' / 'report.html'
    done = lemore(*command, '--report', path, '--report-images', '2')
    *lines, last = done.out.splitlines()
    assert (done.status, last.endswith(str(path))) == (0, True)
    assert ['class', 'iou', 'accuracy'] in [line.split() for line in lines]
    assert sum(line.startswith('bicyclist ') for line in lines) == 1
    page = path.read_text(encoding='utf-8')
    assert page.count('<article') == 2
    assert '<title>untrained on camvid val</title>' in page
    assert [p.name for p in path.parent.iterdir()] == ['report.html']


def test_a_data_set_of_ones_own_is_measured_in_its_own_classes(
    command: list[str], small_camvid: Path, lemore: Any
) -> None:
    for old, new in (('val', 'images/val'), ('valannot', 'masks/val')):
        (small_camvid / new).parent.mkdir()
        (small_camvid / old).rename(small_camvid / new)
    taxonomy = dataclasses.replace(load_taxonomy('camvid'), name='mine')
    classes = small_camvid / 'classes.yaml'
    assert lemore(*command).fails('there is no folder')
    classes.write_text(yaml.safe_dump(taxonomy.to_dict()), encoding='utf-8')
    datasets = ['--dataset', 'folder'], ['--dataset', classes], []
    figures = [lemore(*command, *dataset, '--json').json() for dataset in datasets]
    assert figures[0] == figures[1] == figures[2]
    names = taxonomy.classes
    mine = dataclasses.replace(taxonomy, classes=(*names[:5], 'grass', *names[6:]))
    classes.write_text(yaml.safe_dump(mine.to_dict()), encoding='utf-8')
    assert lemore(*command).fails(f'class 5 is grass there and {names[5]} in the model')
    classes.write_text(yaml.safe_dump(taxonomy.to_dict()), encoding='utf-8')
    for mask in (small_camvid / 'masks' / 'val').iterdir():
        Image.fromarray(np.full(Image.open(mask).size[::-1], 255, np.uint8)).save(mask)
    assert lemore(*command, '--dataset', 'folder').fails('has no labelled pixel in val')
    assert (figures[0]['dataset'], figures[0]['images']) == ('mine', 3)


def test_model_and_truth_are_compared_in_groups_on_one_drive(
    command: list[str], small_camvid: Path, tmp_path: Path, lemore: Any
) -> None:
    names = load_taxonomy('camvid').classes
    ground = ['road', 'pavement']
    rows = {'ground': ground, 'else': [name for name in names[:-1] if name not in ground]}
    groups = [{'name': name, 'color': '#010203', 'classes': rows[name]} for name in rows]
    table = {'name': 'two', 'groups': groups, 'ignore': ['bicyclist']}
    (tmp_path / 'truth.yaml').write_text(yaml.safe_dump(table))
    # drives are looked for in both splits; these images have the names of none
    for name in ('', 'annot'):
        shutil.copytree(small_camvid / f'val{name}', small_camvid / f'train{name}')
    truth = str(tmp_path / 'truth.yaml')
    grouped = [*command, '--dataset', 'camvid', '--ground-truth-groups', truth]
    # the probabilities of a model's classes are summed, and those of ignored ones left out
    values = lemore(*grouped, '--map', truth, '--json').json()
    assert list(values['iou']) == ['ground', 'else']
    assert lemore(*grouped).fails("labelled with the 2 classes of 'two' (ground, else)")
    assert lemore(*command, '--drive', 'nowhere').fails(
        'nowhere cannot be held out: the drives are train, val'
    )
    assert lemore(*command, '--drive', 'train', '--json').json()['split'] == 'drive train'


def test_scenes_are_measured_and_judged(
    untrained_checkpoint: Path, small_camvid: Path, tmp_path: Path, lemore: Any
) -> None:
    for name in ('', 'annot'):
        shutil.copytree(small_camvid / f'val{name}', small_camvid / f'train{name}')
    path = tmp_path / 'known.safetensors'
    shutil.copy(untrained_checkpoint, path)
    model = ['--model', str(path), '--backend', 'torch', '--device', 'cpu']
    command = ['evaluate', *model, '--data', str(small_camvid), '--familiarity']
    assert lemore(*command, 'store').says(f'{path}: 6 images, temperature ')
    scenes = read_card(path).scenes
    assert scenes is not None
    # images of these names are of the drives train and val
    assert (scenes.held_out, scenes.images) == (('val',), 6)
    assert scenes.temperature is not None
    done = lemore(*command, 'table', '--elsewhere', small_camvid / 'val')
    lines = done.out.splitlines()
    assert (done.status, lines[0]) == (0, '| images | train | val |')
    assert [line.split(' | ')[0] for line in lines[2:]] == [
        *(f'| {name}' for name in CORRUPTIONS),
        '| val',
    ]
    assert all(re.fullmatch(r'\| .* \| \d\.\d\d / \d\.\d\d \| .* \|', line) for line in lines[2:])
