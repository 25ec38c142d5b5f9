"""Parameters that are set while the node labels: the next frame follows them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

import lemore_core
from lemore_core.segmentation import mask_low_confidence
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import load_groups, load_taxonomy
from lemore_ros.messages.images import read_image
from lemore_ros.node.qos import latched

NAME = '/lemore_segmentation'
LATCHED = latched()
BUILT_IN_FILE = Path(lemore_core.__file__).with_name('taxonomy') / 'groups' / 'camvid.yaml'

Next = Callable[[], NDArray[np.uint8]]


@pytest.fixture
def next_labels(graph: Any, active: Any) -> Next:  # noqa: ARG001
    """Return a function that gives the labels of one and the same image once more."""
    labels = graph.labels()
    camera = graph.publisher()
    message = graph.image(1)

    def label() -> NDArray[np.uint8]:
        message.header.stamp.nanosec += 1
        return read_image(graph.labels_of(camera, message, labels)).pixels

    return label


def test_doubt_and_groups_change_between_two_frames(
    graph: Any, next_labels: Next, reference: Segmenter
) -> None:
    plain = reference.segment(read_image(graph.image(1)).pixels, 'bgr8')
    median = float(np.median(plain.confidence)) / 255
    certain = mask_low_confidence(plain.labels, plain.confidence, median)
    assert 0 < (certain == 255).sum() < certain.size
    groups = load_groups('auto', load_taxonomy('camvid'))
    steps: list[tuple[dict[str, Any], NDArray[Any]]] = [
        ({}, plain.labels),
        ({'min_confidence': median}, certain),
        ({'class_groups': 'auto'}, groups.apply(certain)),
        ({'min_confidence': 0.0}, groups.apply(plain.labels)),
        ({'class_groups': ''}, plain.labels),
    ]
    for values, expected in steps:
        assert all(result.successful for result in graph.set(**values))
        assert np.array_equal(next_labels(), expected), values


def test_values_are_taken_as_they_are_at_start(graph: Any, active: Any) -> None:
    for name, value, expected in (
        ('max_rate_hz', 5, 5.0),
        ('masks', 'sky', ['sky']),
        ('masks', [], ['']),
    ):
        (result,) = graph.set(**{name: value})
        assert result.successful, result.reason
        assert active.get_parameter(name).value == expected


def test_the_table_of_classes_follows_the_groups(graph: Any, active: Any) -> None:
    tables = graph.collect(String, f'{NAME}/classes', LATCHED)
    camvid = load_taxonomy('camvid')
    groups = load_groups('auto', camvid).taxonomy
    for count, (source, expected) in enumerate([('auto', groups), ('', camvid)], start=2):
        graph.wait_for(lambda n=count: len(tables) == n - 1, 'the table of before')
        assert graph.set(class_groups=source)[0].successful
        graph.wait_for(lambda n=count: len(tables) == n, 'the table')
        rows = json.loads(tables[-1].data)
        assert [row['name'] for row in rows] == list(expected.classes)
        assert [tuple(row['color']) for row in rows] == list(expected.colors)
    # what has nothing to do with the classes does not repeat them
    assert graph.set(overlay_alpha=0.25)[0].successful
    late = graph.collect(String, f'{NAME}/classes', LATCHED)
    graph.wait_for(lambda: late)
    assert len(tables) == 3
    assert active.values.class_groups == ''


def test_groups_that_do_not_fit_are_refused_with_the_reason(
    graph: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / 'secret.yaml'
    secret.write_text('password: 1234\n', encoding='utf-8')
    folder = tmp_path / 'groups'
    folder.mkdir()
    path, other, link = (folder / f'{name}.yaml' for name in ('mine', 'other', 'link'))
    path.write_text('name: mine\ngroups: []\n', encoding='utf-8')
    other.write_text(BUILT_IN_FILE.read_text('utf-8'), encoding='utf-8')
    link.symlink_to(secret)
    # a folder ~ in this one is not the home folder
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.chdir(folder)
    node = graph.node(**graph.untrained, class_groups=str(path))
    log = graph.log()
    # what the operator named is explained
    assert not graph.change(Transition.TRANSITION_CONFIGURE)
    errors = graph.wait_for(lambda: [m.msg for m in log if m.level >= 40])
    assert errors[0].startswith("cannot configure: groups 'mine' do not fit 'camvid': ")
    # the network whose classes they are for is not known yet
    assert graph.set(class_groups=str(folder / 'gone.yaml'))[0].successful
    assert not graph.change(Transition.TRANSITION_CONFIGURE)
    assert graph.set(class_groups=str(other))[0].successful
    assert graph.change(Transition.TRANSITION_CONFIGURE)
    outside = f'allowed while the node runs: empty, auto, ade20k, .*, files in {folder}$'
    for source, reason in {
        str(path): "which is no file of groups of 'camvid': start the node with it to see why$",
        str(folder / 'gone.yaml'): "which is no file of groups of 'camvid'",
        str(folder / '..' / 'secret.yaml'): outside,
        str(secret): outside,
        str(link): outside,
        '~/secret.yaml': outside,
        '/nowhere/mine.yaml': outside,
        'mars': "no class groups are called 'mars': give one of",
        4_000 * 'x': "no class groups are called 'x{150,199}…: give one of",
        2_000_000 * './' + '.yaml': "class_groups is '[./]{150,199}…, allowed: ",
    }.items():
        result = graph.set(class_groups=source)[0]
        assert not result.successful
        assert re.search(reason, result.reason), result.reason
        assert len(result.reason) < 1000
    assert graph.set(class_groups='')[0].successful
    assert '1234' not in ' '.join(entry.msg for entry in log)
    assert node.values.class_groups == node.get_parameter('class_groups').value == ''


def test_the_rate_is_held_and_let_go(graph: Any, active: Any, next_labels: Next) -> None:
    next_labels()
    health = active.stats['']
    assert graph.set(max_rate_hz=0.01)[0].successful
    # of many in a row the first alone is due, whatever the machine's speed
    next_labels()
    camera = graph.publisher()
    for count in range(1, 6):
        camera.publish(graph.image(count))
        graph.wait_for(lambda n=count: health['received'] == n + 2)
    assert health['skipped'] == 5
    assert graph.set(max_rate_hz=0.0)[0].successful
    next_labels()
    assert (health['received'], health['labelled'], health['skipped']) == (8, 3, 5)


def test_masks_come_and_go_and_lie_on_their_own_calibration(graph: Any, active: Any) -> None:
    calibration = CameraInfo(height=60, width=80, k=[50.0, 0, 40, 0, 50, 30, 0, 0, 1])
    assert graph.set(masks=['dynamic', 'road'])[0].successful
    labels = graph.labels()
    masks = {name: graph.collect(Image, f'{NAME}/mask/{name}') for name in ('dynamic', 'road')}
    infos = graph.collect(CameraInfo, f'{NAME}/mask/road/camera_info')
    camera = graph.publisher()
    graph.publisher('/camera_info', CameraInfo).publish(calibration)
    graph.wait_for(lambda: active.worker.cameras[0].subscriptions.info, 'the calibration')
    message = graph.image(1)
    found = read_image(graph.labels_of(camera, message, labels)).pixels
    graph.wait_for(lambda: infos and all(masks.values()))
    assert infos[0].header == masks['road'][0].header == message.header
    assert (infos[0].height, infos[0].width) == found.shape
    ids = {'road': ['road'], 'dynamic': ['car', 'pedestrian', 'bicyclist']}
    for name, classes in ids.items():
        among = [active.segmenter.taxonomy.classes.index(one) for one in classes]
        mask = read_image(masks[name][0])
        assert mask.encoding == 'mono8'
        assert np.array_equal(mask.pixels, 255 * np.isin(found, among).astype(np.uint8))

    for wrong, reason in {
        'rough': 'no class belongs to it',
        'moon': 'nothing is called so',
    }.items():
        result = graph.set(masks=[wrong])[0]
        assert not result.successful
        assert f'there is no mask of {wrong!r}: {reason}, there are: bicyclist' in result.reason
    assert graph.set(class_groups='auto')[0].reason.startswith("there is no mask of 'road'")
    assert graph.set(masks=[''])[0].successful
    graph.wait_for(lambda: not graph.peer.count_publishers(f'{NAME}/mask/road'))
