"""``--fail-if``: a model that is worse than before ends with status 4, each condition with its figure."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import yaml

from lemore_core.common.errors import LemoreError
from lemore_core.taxonomy import load_taxonomy
from lemore_ros.bags.cli import compare
from lemore_ros.bags.cli.gate import Condition
from lemore_ros.messages.rendering import classes_json
from test.bags.evaluation.known_drives import (
    CAMERA,
    CAR,
    NODE,
    ROAD,
    START_NS,
    TRUTH,
    Message,
    drive_messages,
    write_messages,
)

LABELS = f'{NODE}/labels'
ROOT = Path(__file__).parents[3]
MAP = ROOT / 'config' / 'distill' / 'cityscapes_camvid.yaml'
BEFORE = {'flicker': 0.2, 'iou': {'car': 0.6, 'road': None}, 'latency_ms': 20.0, 'doubtful': 0}
AFTER = BEFORE | {'flicker': 0.22, 'iou': {'car': 0.57}, 'latency_ms': 26.0, 'doubtful': 0.1}
AFTER['agreement'] = 0.96


@pytest.mark.parametrize(
    ('text', 'fails', 'figure'),
    [
        ('agreement<0.97', True, 'agreement is 0.96'),
        ('agreement < 96%', False, 'agreement is 0.96'),
        ('latency_ms>25', True, 'latency_ms is 26'),
        ('iou.car drops 2', True, 'iou.car is 0.57, it was 0.6'),
        ('iou.car drops 3', False, 'iou.car is 0.57, it was 0.6'),
        ('iou.car drops 5%', False, 'iou.car is 0.57, it was 0.6'),
        ('iou.car drops 4.9%', True, 'iou.car is 0.57, it was 0.6'),
        ('flicker rises 10%', False, 'flicker is 0.22, it was 0.2'),
        ('flicker rises 9%', True, 'flicker is 0.22, it was 0.2'),
        ('flicker drops 1', False, 'flicker is 0.22, it was 0.2'),
        ('latency_ms rises 6', False, 'latency_ms is 26, it was 20'),
        ('doubtful rises 500%', True, 'doubtful is 0.1, it was 0'),
        ('iou.road drops 2', True, 'iou.road is unknown here'),
        ('agreement drops 2', True, 'agreement is unknown here'),
    ],
)
def test_conditions(text: str, fails: bool, figure: str) -> None:
    outcome = Condition.parse(text, ['car', 'road']).check(BEFORE, AFTER)
    assert (outcome.condition, outcome.fails) == (text, fails)
    assert outcome.figure.startswith(figure)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('agreemnt<0.97', "no figure is called 'agreemnt', there are agreement, mean_iou"),
        ('iou.person drops 2', "no figure is called 'iou.person', .*with a class of car, road"),
        ('agreement=0.97', 'is no condition such as'),
        ('flicker rises', 'is no condition such as'),
    ],
)
def test_a_condition_of_an_unknown_name_is_refused(text: str, message: str) -> None:
    with pytest.raises(LemoreError, match=message):
        Condition.parse(text, ['car', 'road'])


@pytest.fixture
def sides(tmp_path: Path) -> list[str]:
    """A drive without mistakes, and one of which half of the cars are wrong in every other frame."""
    rows = ('old', [0.0] * 4), ('new', [0.0, 0.5, 0.0, 0.5])
    return [str(write_messages(tmp_path / name, drive_messages(m))) for name, m in rows]


def test_two_sides_are_judged_each_with_its_figures(
    sides: list[str], tmp_path: Path, lemore: Any
) -> None:
    report = tmp_path / 'out.xml'
    conditions = {
        'agreement<0.97': 'agreement is 0.875',
        'iou.car drops 2': 'iou.car is 0.75, it was 1',
        'iou.road drops 2': '',
        'flicker rises 10%': 'flicker is 0.25, it was 0',
        'mean_confidence<0.5': '',
    }
    flags = [word for text in conditions for word in ('--fail-if', text)]
    command = ['bag', 'compare', *sides, '--labels', LABELS, '--ground-truth', TRUTH]
    done = lemore(*command, *flags, '--junit', report)
    assert done.fails(*(f'{text}: {figure}' for text, figure in conditions.items()), status=4)
    suite = ET.parse(report).getroot()
    assert (suite.tag, suite.get('tests'), suite.get('failures')) == ('testsuite', '5', '3')
    failed = {case.get('name'): case.find('failure') for case in suite.iter('testcase')}
    assert {name for name, found in failed.items() if found is not None} == {
        name for name, figure in conditions.items() if figure
    }
    assert lemore(*command, '--fail-if', 'agreement<0.8').status == 0
    # without ground truth nobody knows who is right
    done = lemore(*command[:-2], '--fail-if', 'iou.car drops 2')
    assert done.fails('iou.car is unknown here', status=4)


def test_a_stored_baseline_is_compared_with(sides: list[str], tmp_path: Path, lemore: Any) -> None:
    old, new = sides
    judged = ['--labels', LABELS, '--ground-truth', TRUTH]
    done = lemore('bag', 'evaluate', old, *judged, '--json')
    assert done.status == 0
    baseline = tmp_path / 'baseline.json'
    baseline.write_text(done.out)

    def compare_with(bag: object, *flags: object) -> Any:
        return lemore('bag', 'compare', bag, *judged, '--baseline', baseline, *flags)

    failed = 'FAILED  iou.car drops 2: iou.car is 0.75, it was 1'
    assert compare_with(new, '--fail-if', 'iou.car drops 2').fails(failed, status=4)
    assert compare_with(old, '--fail-if', 'iou.car drops 2').status == 0
    messages = drive_messages([0.0, 0.5, 0.0, 0.5])
    camera = [m._replace(topic=m.topic.replace(CAMERA, '/rear/image')) for m in messages]
    rear = write_messages(tmp_path / 'rear', camera)
    small = [
        m if isinstance(m.pixels, str) else m._replace(pixels=m.pixels[::2, ::2]) for m in messages
    ]
    halved = write_messages(tmp_path / 'halved', small)
    (tmp_path / 'list.json').write_text('[1]')
    for bag, flags, message in (
        (rear, [], 'the camera of the baseline .*is /camera/image_raw, here it is /rear/image'),
        (halved, [], 'the image size of the baseline .*is 64x48, here it is 32x24'),
        (new, ['--class-groups', 'camvid', '--dataset', 'camvid'], 'the classes of the baseline'),
        (new, ['--baseline', str(tmp_path / 'list.json')], 'list.json is no baseline, which'),
        (new, ['--baseline', str(tmp_path / 'none.json')], 'none.json is no baseline'),
        (new, ['--models', 'nano'], 'compared with one side'),
    ):
        done = compare_with(bag, '--fail-if', 'flicker>1', *flags)
        assert done.status == 1, message
        assert re.search(message, done.err)
    assert compare_with(new).fails('give them with --fail-if')


def test_labels_of_other_classes_are_compared_in_groups(tmp_path: Path, lemore: Any) -> None:
    cityscapes = load_taxonomy('cityscapes')
    ids = np.zeros(256, np.uint8)
    ids[[ROAD, CAR]] = [cityscapes.classes.index(name) for name in ('road', 'truck')]
    messages = drive_messages([0.5] * 4)
    table = Message('/big/classes', START_NS, classes_json(cityscapes), '', START_NS)
    truth = [m for m in messages if m.topic == TRUTH]
    big = [m._replace(topic='/big/labels', pixels=ids[np.asarray(m.pixels)]) for m in truth]
    everything = sorted([table, *big, *messages], key=lambda m: m.stamp_ns)
    command = ['bag', 'compare', write_messages(tmp_path / 'drive', everything)]
    command += ['--labels', LABELS, '/big/labels', '--fail-if', 'agreement<0.76']
    assert lemore(*command).fails('only labels of the same classes can be compared')
    assert lemore(*command, '--class-groups', MAP).fails('agreement is 0.75', status=4)
    assert lemore(*command, '--class-groups', 'coco_stuff').fails('do not fit')


def test_the_workflow_in_the_docs_is_one_that_runs(lemore: Any) -> None:
    page = (ROOT / 'docs' / 'bags.md').read_text('utf-8')
    (text,) = re.findall(r'```yaml\n(name: .*?)```', page, re.DOTALL)
    jobs = yaml.safe_load(text)['jobs'].values()
    steps = [step for job in jobs for step in job['steps']]
    (command,) = [step['run'] for step in steps if step.get('run', '').startswith('lemore')]
    assert lemore(*shlex.split(command)[1:], '--help').status == 0
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    arguments = parser.parse_args(shlex.split(command)[3:])
    classes = load_taxonomy('cityscapes').classes
    assert all(Condition.parse(text, classes) for text in arguments.fail_if)
    (report,) = [step for step in steps if 'upload-artifact' in step.get('uses', '')]
    assert report['with']['path'] == str(arguments.junit)
    assert report['if'] == 'always()'
