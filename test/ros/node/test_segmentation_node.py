"""The node in a real graph: everything goes through DDS."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float32
from std_srvs.srv import SetBool

from lemore_core.checkpoint import store_scenes
from lemore_core.familiarity import SceneStatistics
from lemore_core.images.render import overlay
from lemore_core.segmenter import Segmenter
from lemore_ros.messages.images import read_image

NAME = '/lemore_segmentation'


def pixels_of(message: Image) -> NDArray[np.uint8]:
    return read_image(message).pixels


def switch(graph: Any, enabled: bool) -> Any:
    return graph.call(SetBool, f'{NAME}/set_enabled', SetBool.Request(data=enabled))


@pytest.mark.usefixtures('active')
def test_labels_are_those_of_the_segmenter_under_the_header_of_the_image(
    graph: Any, reference: Segmenter
) -> None:
    labels = graph.labels()
    camera = graph.publisher()
    confidences = graph.collect(Image, f'{NAME}/confidence')
    log = graph.log()
    stamps = [(1, 2), (0, 0), (2**31 - 1, 999_999_999), (-5, 17), (0, 0)]
    sizes = [(60, 80), (60, 80), (96, 128), (33, 44), (60, 80)]
    for count, (stamp, size) in enumerate(zip(stamps, sizes, strict=True), start=1):
        message = graph.image(count, size=size, frame_id=f'camera {count}/optical')
        message.header.stamp.sec, message.header.stamp.nanosec = stamp
        camera.publish(message)
        graph.wait_for(lambda n=count: len(labels) == len(confidences) == n)
        expected = reference.segment(pixels_of(message), 'bgr8')
        found = labels[-1]
        assert found.header == confidences[-1].header == message.header
        assert (found.encoding, found.step, found.is_bigendian) == ('mono8', size[1], 0)
        assert np.array_equal(pixels_of(found), expected.labels)
        assert np.array_equal(pixels_of(confidences[-1]), expected.confidence)
    # each is said once
    said = graph.wait_for(lambda: [m.msg for m in log if m.level >= 30][2:] and log)
    old, zero, ahead = (m.msg for m in said if m.level >= 30)
    assert ' days old: unknown clock, its age is not counted' in old
    assert ' days ahead of this clock: unknown clock' in ahead
    assert zero == '/image: images have no time stamp; labels carry the same zero stamp'


def test_a_camera_info_that_is_absent_or_of_another_image_is_said(graph: Any, active: Any) -> None:
    infos = graph.collect(CameraInfo, f'{NAME}/camera_info')
    labels = graph.labels()
    log = graph.log()

    def said(text: str) -> list[str]:
        return [m.msg for m in log if text in m.msg]

    camera = graph.publisher()
    graph.labels_of(camera, graph.image(1), labels)
    for _ in range(10):  # one a second, not waited for
        active.worker.cameras[0].run_watchdog(0)
    nobody = '/image: no camera_info is published: nobody publishes /camera_info, remap camera_info'
    graph.wait_for(lambda: said(nobody))
    known = graph.publisher('/camera_info', CameraInfo)
    info = CameraInfo(height=60, width=160)
    info.k = [100.0, 0.0, 40.0, 0.0, 100.0, 30.0, 0.0, 0.0, 1.0]
    known.publish(info)
    other = 'the camera info is for 160x60, an image of 80x60 has another shape'
    graph.film(camera, graph.image(2), lambda: said(other))
    assert (len(said('no camera_info')), infos) == (1, [])
    info.width = 80
    known.publish(info)
    graph.film(camera, graph.image(3), lambda: infos)
    assert list(infos[0].k) == list(info.k)


def test_simulated_time_without_a_clock_is_said(graph: Any) -> None:
    graph.start(use_sim_time=True)
    labels = graph.labels()
    log = graph.log()
    graph.labels_of(graph.publisher(), graph.image(1), labels)
    lines = graph.wait_for(lambda: [m.msg for m in log if 'unknown clock' in m.msg])
    assert ' days ahead of this clock: unknown clock' in lines[0]
    assert lines[0].endswith('use_sim_time is set, and nothing came on /clock yet')


def test_familiarity_is_published_where_the_model_tells_it(graph: Any, tmp_path: Path) -> None:
    graph.start()
    assert graph.peer.count_publishers(f'{NAME}/familiarity') == 0
    graph.nodes.pop().close()
    path = tmp_path / 'known.safetensors'
    shutil.copy(graph.untrained['model'], path)
    wide = {name: np.random.default_rng(0).normal(size=(4, 416)) for name in 'ab'}
    store_scenes(path, dataclasses.replace(SceneStatistics.of(wide), temperature=1.0))
    graph.start(model=str(path))
    found = [graph.collect(Float32, f'{NAME}/{name}') for name in ('familiarity', 'sureness')]
    message = graph.image(1)
    graph.publisher().publish(message)
    graph.wait_for(lambda: all(found))
    expected = Segmenter.load(path, backend='torch').segment(pixels_of(message), 'bgr8')
    assert [one[0].data for one in found] == pytest.approx(
        [expected.familiarity, expected.sureness], abs=1e-6
    )


def test_each_camera_has_its_own_topics_headers_sizes_and_encodings(
    graph: Any, reference: Segmenter
) -> None:
    names = ['front', 'robot/rear']
    graph.start(camera_names=names, rotate=[0, 180])
    labels = {name: graph.collect(Image, f'{NAME}/{name}/labels') for name in names}
    cameras = {name: graph.publisher(f'/{name}/image') for name in names}
    colored = graph.image(1, size=(60, 80), frame_id='front/optical')
    grey = graph.image(2, size=(48, 64), frame_id='rear/optical')
    grey.encoding, grey.step, grey.data = 'mono8', 64, grey.data[: 48 * 64]
    for name, message in {'front': colored, 'robot/rear': grey}.items():
        found = graph.labels_of(cameras[name], message, labels[name])
        assert found.header == message.header
        frame = read_image(message)._replace(rotation=180 if name == 'robot/rear' else 0)
        expected = reference.segment_batch([frame])[0].labels
        assert np.array_equal(pixels_of(found), expected)
    assert [len(found) for found in labels.values()] == [1, 1]
    diagnostics = graph.collect(DiagnosticArray, '/diagnostics')
    graph.wait_for(lambda: diagnostics)
    prefix = 'lemore_segmentation: segmentation'
    assert [status.name for status in diagnostics[0].status] == [
        f'{prefix} {name}' for name in names
    ]
    topics = {name for name, _ in graph.peer.get_topic_names_and_types()}
    assert f'{NAME}/robot/rear/classes' in topics
    assert f'{NAME}/labels' not in topics


def test_bad_messages_give_one_clear_error_and_the_next_good_one_is_labelled(
    active: Any, graph: Any
) -> None:
    labels = graph.labels()
    camera = graph.publisher()
    log = graph.log()
    breaks: list[Callable[[Image], None]] = [
        lambda m: setattr(m, 'step', 7),
        lambda m: setattr(m, 'height', 0),
        lambda m: setattr(m, 'data', m.data[:-1]),
        lambda m: setattr(m, 'encoding', 5_000_000 * 'y'),
        lambda m: setattr(m, 'width', 4_000_000_000),
    ]
    for count, spoil in enumerate(breaks, start=1):
        message = graph.image(count)
        spoil(message)
        camera.publish(message)
        graph.wait_for(lambda n=count: active.stats['']['failed'] == n)
    graph.labels_of(camera, graph.image(99), labels)
    assert len(labels) == 1
    assert active.stats['']['failed'] == len(breaks)
    errors = graph.wait_for(lambda: [m.msg for m in log if m.level >= 40][4:] and log)
    said = [m.msg for m in errors if m.level >= 40]
    # one kind hides no other
    for line, begin in zip(said, ('step', 'the image', 'data', 'encoding', 'the'), strict=True):
        assert line.startswith(f'/image: {begin} ')
        assert len(line) < 1000
    assert '… is not read, allowed: ' in said[3]


@pytest.mark.usefixtures('active')
def test_the_overlay_follows_its_live_parameter(graph: Any, reference: Segmenter) -> None:
    overlays = graph.collect(Image, f'{NAME}/overlay')
    camera, message = graph.publisher(), graph.image(1)
    labels = reference.segment(pixels_of(message), 'bgr8').labels
    for alpha in (0.5, 0.0):
        assert graph.set(overlay_alpha=alpha)[0].successful
        message.header.stamp.nanosec += 1
        found = graph.labels_of(camera, message, overlays)
        expected = overlay(pixels_of(message), 'bgr8', labels, reference.taxonomy.palette, alpha)
        assert (found.encoding, found.header) == ('rgb8', message.header)
        assert np.array_equal(pixels_of(found), expected)


def test_a_message_that_is_dropped_is_never_decoded(
    graph: Any, active: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release, segment = threading.Event(), threading.Event(), active.segmenter.segment_batch

    def segment_later(*arguments: Any) -> Any:
        begun.set()
        assert release.wait(30)
        return segment(*arguments)

    monkeypatch.setattr(active.segmenter, 'segment_batch', segment_later)
    graph.labels()
    camera, health = graph.publisher(), active.stats['']
    camera.publish(graph.image(1))
    graph.wait_for(begun.is_set, 'the first')
    broken = graph.image(2)
    broken.step = 7
    for count in range(2, 7):
        camera.publish(broken)
        graph.wait_for(lambda n=count: health['received'] == n)
    release.set()
    graph.wait_for(lambda: health['failed'] and health['labelled'])
    assert (health['dropped'], health['failed'], health['accepted']) == (4, 1, 1)


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({'model': '/nowhere/mine.safetensors'}, 'there is no checkpoint /nowhere/mine'),
        ({'model': '/nowhere/mine.pth'}, 'weights_only=True'),
        ({'model': 'tiny', 'dataset': 'mars'}, "'mars'"),
        ({'dataset': 'cityscapes'}, '19 classes'),
        ({'device': 'cuda:99'}, 'cuda'),
    ],
)
def test_what_cannot_be_configured_is_said_in_one_line_and_can_be_tried_again(
    graph: Any, values: dict[str, Any], reason: str
) -> None:
    graph.node(**graph.untrained | values)
    log = graph.log()
    for count in (1, 2):
        assert not graph.change(Transition.TRANSITION_CONFIGURE)
        assert graph.state(NAME) == 'unconfigured'
        graph.wait_for(lambda n=count: len([m for m in log if m.level >= 40]) == n)
    errors = [m.msg for m in log if m.level >= 40]
    assert errors[0].startswith('cannot configure: ')
    assert reason in errors[0]
    assert '\n' not in errors[0]


def test_a_pause_keeps_the_network_and_takes_no_images(active: Any, graph: Any) -> None:
    labels = graph.labels()
    camera = graph.publisher()
    graph.labels_of(camera, graph.image(1), labels)
    segmenter = active.segmenter
    assert switch(graph, enabled=False).success
    graph.wait_for(lambda: not camera.get_subscription_count())
    camera.publish(graph.image(2))
    assert switch(graph, enabled=False).success
    assert graph.state(NAME) == 'active'
    assert switch(graph, enabled=True).success
    graph.wait_for(camera.get_subscription_count)
    graph.labels_of(camera, graph.image(3), labels)
    assert [m.header.stamp.nanosec for m in labels] == [1, 3]
    assert active.segmenter is segmenter


def test_a_node_that_is_not_active_cannot_be_enabled(graph: Any) -> None:
    graph.node()
    answer = switch(graph, enabled=True)
    assert not answer.success
    assert 'not active' in answer.message
