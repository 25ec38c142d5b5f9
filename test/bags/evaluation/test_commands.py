from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from test.bags.evaluation.known_drives import CAMERA, NODE, TRUTH, drive_messages, write_messages

LABELS = f'{NODE}/labels'


def test_evaluate_takes_the_labels_of_the_bag_and_prints_json_and_nothing_else(
    drive: Path, lemore: Any
) -> None:
    done = lemore('bag', 'evaluate', drive, '--ground-truth', TRUTH, '--json')
    assert done.err.splitlines()[0] == f'labels of {LABELS} in {drive}'
    values = done.json()
    expected = {'camera': CAMERA, 'labels': f'{LABELS} in {drive}', 'ground_truth': TRUTH}
    assert {**expected, 'mean_iou': 0.5, 'flicker': 0}.items() <= values.items()
    assert values['over_time']['latency_ms'] == [20] * 4


def test_evaluate_prints_figures_and_writes_a_report(
    drive: Path, tmp_path: Path, lemore: Any
) -> None:
    report = tmp_path / 'new' / 'report.html'
    command = ['bag', 'evaluate', drive, '--labels', LABELS, '--ground-truth', TRUTH]
    done = lemore(*command, '--report', report)
    first, *lines = done.out.splitlines()
    assert (done.status, first) == (0, f'labels of {LABELS} in {drive}')
    assert str(report) in lines
    assert ['mean_iou', '0.5'] in [line.split() for line in lines]
    assert ['flicker', '0.0', 'share'] in [line.split()[:3] for line in lines]
    assert [line.split() for line in lines if line.startswith('  ')][-1] == ['mean', '0.5']
    assert any(line.startswith('ground_truth_ids       no class table') for line in lines)
    assert '<title>/lemore_segmentation/labels on drive</title>' in report.read_text()


def test_a_bag_without_labels_is_segmented_and_one_of_several_is_chosen(
    tmp_path: Path, lemore: Any
) -> None:
    messages = drive_messages([0.5] * 2)
    bare = write_messages(tmp_path / 'bare', [m for m in messages if m.topic == CAMERA])
    model = ['--model', 'nano', '--backend', 'torch', '--device', 'cpu']
    done = lemore('bag', 'evaluate', bare, *model)
    assert done.out.startswith('model ')
    # no street
    assert ['unfamiliar', '1.0'] in [line.split()[:2] for line in done.out.splitlines()]
    *_, scenes, advice = lemore('bag', 'info', bare, *model).out.splitlines()
    assert re.match(
        r' +familiarity 0.0\d in the median, mean confidence 0.\d\d; 2 of 2 images are unlike the '
        r'training data \(familiarity below 0.05\), from 0.00 s to 0.\d\d s$',
        scenes,
    )
    assert 'train on its images: lemore distill' in advice
    again = [m._replace(topic=m.topic.replace(NODE, '/rear')) for m in messages if NODE in m.topic]
    both = write_messages(tmp_path / 'both', [*messages, *again])
    several = f'has labels on {LABELS}, /rear/labels: choose with'
    assert lemore('bag', 'evaluate', both).fails(several)


def test_images_may_be_in_another_bag(drive: Path, tmp_path: Path, lemore: Any) -> None:
    results = [m for m in drive_messages([0.5] * 4) if m.topic.startswith(NODE)]
    alone = write_messages(tmp_path / 'results', results)
    command = ['bag', 'evaluate', alone, '--labels', LABELS]
    assert lemore(*command, '--images', drive, '--json').json()['frames'] == 4
    assert lemore(*command).fails('has no camera')


def test_compare_takes_topics_bags_and_models(
    drive: Path, tmp_path: Path, exported: Path, lemore: Any
) -> None:
    again = write_messages(tmp_path / 'again', drive_messages([0.0] * 4))
    camvid, model = ['--dataset', 'camvid'], ['--backend', 'onnxruntime', '--device', 'cpu']
    for arguments, agreement in (
        ([drive, '--labels', LABELS, TRUTH, *camvid], 0.75),
        ([drive, again, '--labels', LABELS], 0.75),
        ([drive, again, '--labels', LABELS, TRUTH, *camvid], 0.75),
        ([drive, '--models', exported, exported, *model], 1.0),
    ):
        assert lemore('bag', 'compare', *arguments, '--json').json()['agreement'] == agreement
    two = ['bag', 'compare', drive, again, '--labels', LABELS]
    scores = lemore(*two, '--ground-truth', TRUTH, '--json').json()['ground_truth_scores']
    assert {side: one['mean_iou'] for side, one in scores.items()} == {'A': 0.5, 'B': 1.0}
    report = tmp_path / 'compare.html'
    assert lemore(*two, '--report', report, '--report-images', '1').status == 0
    assert report.read_text().count('<article') == 1
    assert '<title>drive and again</title>' in report.read_text()
    other = write_messages(tmp_path / 'other' / 'drive', drive_messages([0.0] * 4))
    values = lemore('bag', 'compare', drive, other, '--labels', LABELS, '--json').json()
    assert values['A'].endswith(f'in {drive}')
    assert values['B'].endswith(f'in {other}')


@pytest.mark.parametrize(
    'text', ['', '--labels a', '--model a', '--models a b c', 'B --models nano']
)
def test_compare_wants_two_sides(drive: Path, text: str, lemore: Any) -> None:
    assert lemore('bag', 'compare', drive, *text.split()).fails('two sides are compared')


@pytest.mark.parametrize(
    ('name', 'arguments'), [('evaluate', []), ('compare', [TRUTH, '--dataset', 'camvid'])]
)
def test_what_could_not_be_read_shows_in_the_exit_status(
    tmp_path: Path, lemore: Any, name: str, arguments: list[str]
) -> None:
    messages = drive_messages([0.5] * 4)
    broken = next(m for m in messages if m.topic == CAMERA)._replace(encoding='no such')
    messages = [broken if m[:2] == broken[:2] else m for m in messages]
    drive = write_messages(tmp_path / 'drive', messages)
    lost = ": 1 images that cannot be decoded: encoding 'no such' is not read"
    assert lemore('bag', name, drive, '--labels', LABELS, *arguments).fails(lost, status=3)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--report', 'FILE/report.html'], 'cannot be written'),
        (['--topic', '/no/camera'], 'has no topic /no/camera'),
        (['--ground-truth', '/no/truth'], 'no folder or bag has that name'),
        (['--images', '/no/bag'], '/no/bag'),
    ],
)
def test_what_is_wrong_is_said(
    drive: Path, tmp_path: Path, lemore: Any, arguments: list[str], message: str
) -> None:
    (tmp_path / 'FILE').touch()
    given = [argument.replace('FILE', str(tmp_path / 'FILE')) for argument in arguments]
    done = lemore('bag', 'evaluate', drive, '--labels', LABELS, *given)
    assert done.fails(message)
    assert done.err.splitlines()[-1].startswith('lemore bag: ')
