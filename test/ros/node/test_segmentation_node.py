"""The node in a real graph: everything goes through DDS."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from numpy.typing import NDArray
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import SetBool

from lemore_core.common.errors import in_one_line
from lemore_core.images.render import blend, colorize, overlay
from lemore_core.inference.backend import DeviceMemoryError
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import load_taxonomy
from lemore_ros.messages import rendering
from lemore_ros.node.camera_stats import CameraStats

NAME = '/lemore_segmentation'
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

MakeImage = Callable[..., Image]


@pytest.fixture(scope='module')
def reference(untrained_checkpoint: Any) -> Segmenter:
    return Segmenter.load(untrained_checkpoint, backend='torch', device='cpu')


def pixels_of(message: Image) -> NDArray[np.uint8]:
    channels = {'mono8': 1, 'rgb8': 3, 'bgr8': 3}[message.encoding]
    shape = (message.height, message.width) + ((channels,) if channels > 1 else ())
    return np.frombuffer(message.data, np.uint8).reshape(shape)


def health_of(node: Any, camera: str = '') -> CameraStats:
    return node.stats[camera]


def switch(graph: Any, enabled: bool) -> Any:
    return graph.call(SetBool, f'{NAME}/set_enabled', SetBool.Request(data=enabled))


@pytest.mark.usefixtures('active')
def test_labels_are_those_of_the_segmenter_under_the_header_of_the_image(
    graph: Any, make_image: MakeImage, reference: Segmenter
) -> None:
    labels = graph.collect(Image, f'{NAME}/labels')
    camera = graph.publisher()
    confidences = graph.collect(Image, f'{NAME}/confidence')
    for stamp, size in enumerate([(60, 80), (60, 80), (96, 128), (33, 44)], start=1):
        message = make_image(stamp, size=size, frame_id=f'camera {stamp}/optical')
        found = graph.labels_of(camera, message, labels)
        expected = reference.segment(pixels_of(message), 'bgr8')
        assert found.header == message.header
        assert (found.encoding, found.step, found.is_bigendian) == ('mono8', size[1], 0)
        assert np.array_equal(pixels_of(found), expected.labels)
        graph.wait_for(lambda n=stamp: len(confidences) == n)
        assert confidences[-1].header == message.header
        assert np.array_equal(pixels_of(confidences[-1]), expected.confidence)


@pytest.mark.usefixtures('active')
@pytest.mark.parametrize('stamp', [(0, 0), (2**31 - 1, 999_999_999), (-5, 17)])
def test_the_stamp_passes_bit_for_bit(
    graph: Any, make_image: MakeImage, stamp: tuple[int, int]
) -> None:
    labels = graph.collect(Image, f'{NAME}/labels')
    camera = graph.publisher()
    message = make_image(1)
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    found = graph.labels_of(camera, message, labels)
    assert found.header == message.header


@pytest.mark.usefixtures('active')
def test_images_without_a_stamp_are_warned_of_once(graph: Any, make_image: MakeImage) -> None:
    labels = graph.collect(Image, f'{NAME}/labels')
    camera = graph.publisher()
    log = graph.collect(Log, '/rosout')
    message = make_image(1)
    message.header.stamp.sec = message.header.stamp.nanosec = 0
    for count in range(1, 4):
        camera.publish(message)
        graph.wait_for(lambda n=count: len(labels) == n)
    warnings = graph.wait_for(lambda: [m.msg for m in log if 'no time stamp' in m.msg])
    assert len(warnings) == 1
    assert warnings[0].startswith('/image: ')


@pytest.mark.usefixtures('active')
@pytest.mark.parametrize('encoding', ['bgr8', 'rgb8', 'bgra8', 'rgba8', 'mono8'])
def test_padded_rows_of_every_encoding_give_the_same_labels(
    graph: Any, clip_frames: list[NDArray[np.uint8]], reference: Segmenter, encoding: str
) -> None:
    bgr = cv2.resize(clip_frames[0], (160, 120))
    codes = {
        'rgb8': cv2.COLOR_BGR2RGB,
        'bgra8': cv2.COLOR_BGR2BGRA,
        'rgba8': cv2.COLOR_BGR2RGBA,
        'mono8': cv2.COLOR_BGR2GRAY,
    }
    pixels = cv2.cvtColor(bgr, codes[encoding]) if encoding in codes else bgr
    rows = pixels.reshape(120, -1)
    step = rows.shape[1] + 13
    padded = np.full((120, step), 0xAB, np.uint8)
    padded[:, : rows.shape[1]] = rows
    message = Image(height=120, width=160, step=step, encoding=encoding, data=padded.tobytes())
    message.header.stamp.sec = 1
    labels = graph.collect(Image, f'{NAME}/labels')
    found = graph.labels_of(graph.publisher(), message, labels)
    expected = reference.segment(pixels, encoding)
    assert len(np.unique(expected.labels)) > 1
    assert np.array_equal(pixels_of(found), expected.labels)


def test_bad_messages_give_one_clear_error_and_the_next_good_one_is_labelled(
    active: Any, graph: Any, make_image: MakeImage
) -> None:
    labels = graph.collect(Image, f'{NAME}/labels')
    camera = graph.publisher()
    log = graph.collect(Log, '/rosout')
    breaks: list[Callable[[Image], None]] = [
        lambda m: setattr(m, 'step', 7),
        lambda m: setattr(m, 'height', 0),
        lambda m: setattr(m, 'data', m.data[:-1]),
        lambda m: setattr(m, 'encoding', 'yuv444'),
        lambda m: setattr(m, 'width', 4_000_000_000),
    ]
    for count, spoil in enumerate(breaks, start=1):
        message = make_image(count)
        spoil(message)
        camera.publish(message)
        graph.wait_for(lambda n=count: health_of(active)['failed'] == n)
    graph.labels_of(camera, make_image(99), labels)
    assert len(labels) == 1
    assert health_of(active)['failed'] == len(breaks)
    errors = graph.wait_for(lambda: [m.msg for m in log if m.level >= 40][4:] and log)
    said = [m.msg for m in errors if m.level >= 40]
    # one kind hides no other
    for line, begin in zip(said, ('step', 'the image', 'data', 'encoding', 'the'), strict=True):
        assert line.startswith(f'/image: {begin} ')


def test_a_frame_that_fails_in_the_network_does_not_end_the_worker(
    active: Any, graph: Any, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = graph.collect(Image, f'{NAME}/labels')
    camera = graph.publisher()
    diagnostics = graph.collect(DiagnosticArray, '/diagnostics')
    errors = [ZeroDivisionError('why'), MemoryError(), DeviceMemoryError('the GPU is full')]
    for count, error in enumerate(errors, start=1):

        def fail(*_: Any, error: Exception = error) -> None:
            raise error

        del diagnostics[:]
        with monkeypatch.context() as patch:
            # no message makes the real network fail when asked
            patch.setattr(active.segmenter, 'segment_batch', fail)
            camera.publish(make_image(count))
            graph.wait_for(lambda n=count: health_of(active)['failed'] == n)
        (status,) = graph.wait_for(lambda: diagnostics)[0].status
        assert status.level == b'\x02'
        assert status.message == f'the last frame failed: {in_one_line(error)}'
    graph.labels_of(camera, make_image(9), labels)
    graph.wait_for(lambda: health_of(active)['labelled'] == 1)


def test_images_are_rendered_only_while_somebody_looks(
    graph: Any,
    active: Any,
    make_image: MakeImage,
    reference: Segmenter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rendered: list[str] = []

    def counting(function: Any) -> Any:
        def call(*args: Any) -> Any:
            rendered.append(function.__name__)
            return function(*args)

        return call

    for function in (colorize, blend):
        monkeypatch.setattr(rendering, function.__name__, counting(function))
    labels = graph.collect(Image, f'{NAME}/labels')
    camera = graph.publisher()
    graph.labels_of(camera, make_image(1), labels)
    assert rendered == []

    colors = graph.collect(Image, f'{NAME}/color')
    overlays = graph.collect(Image, f'{NAME}/overlay')
    message = make_image(2)
    graph.labels_of(camera, message, labels)
    graph.wait_for(lambda: colors and overlays)
    palette = active.segmenter.taxonomy.palette
    expected = reference.segment(pixels_of(message), 'bgr8').labels
    assert (colors[0].encoding, colors[0].header) == ('rgb8', message.header)
    assert np.array_equal(pixels_of(colors[0]), colorize(expected, palette))
    assert (overlays[0].encoding, overlays[0].header) == ('rgb8', message.header)
    blended = overlay(pixels_of(message), 'bgr8', expected, palette, 0.5)
    assert np.array_equal(pixels_of(overlays[0]), blended)


@pytest.mark.usefixtures('active')
def test_the_overlay_follows_its_live_parameter(graph: Any, make_image: MakeImage) -> None:
    labels = graph.collect(Image, f'{NAME}/labels')
    camera = graph.publisher()
    overlays = graph.collect(Image, f'{NAME}/overlay')
    clear = Parameter('overlay_alpha', value=0.0).to_parameter_msg()
    request = SetParameters.Request(parameters=[clear])
    assert graph.call(SetParameters, f'{NAME}/set_parameters', request).results[0].successful
    message = make_image(1)
    graph.labels_of(camera, message, labels)
    graph.wait_for(lambda: overlays)
    assert np.array_equal(pixels_of(overlays[0]), pixels_of(message)[..., ::-1])


@pytest.mark.usefixtures('active')
def test_who_comes_late_still_learns_the_classes(graph: Any) -> None:
    camvid = load_taxonomy('camvid')
    for _ in range(2):
        tables = graph.collect(String, f'{NAME}/classes', LATCHED)
        graph.wait_for(lambda found=tables: found)
        rows = json.loads(tables[0].data)
        assert [row['id'] for row in rows] == list(range(11))
        assert [row['name'] for row in rows] == list(camvid.classes)
        assert [tuple(row['color']) for row in rows] == list(camvid.colors)


def test_under_overload_only_the_newest_frame_is_labelled(
    active: Any, graph: Any, make_image: MakeImage
) -> None:
    labels = graph.collect(Image, f'{NAME}/labels')
    camera = graph.publisher()
    health = health_of(active)
    message = make_image(0, size=(540, 960))
    for stamp in range(1, 41):
        message.header.stamp.nanosec = stamp
        camera.publish(message)
        graph.wait_for(lambda n=stamp: health['received'] == n)
    graph.wait_for(lambda: health['dropped'] + health['labelled'] == 40)
    graph.wait_for(lambda: len(labels) == health['labelled'])
    stamps = [m.header.stamp.nanosec for m in labels]
    assert health['dropped'] > 0
    assert stamps == sorted(set(stamps))
    assert stamps[-1] == 40
    assert health['accepted'] == health['labelled']


def test_diagnostics_tell_what_happened(active: Any, graph: Any, make_image: MakeImage) -> None:
    labels = graph.collect(Image, f'{NAME}/labels')
    camera = graph.publisher()
    diagnostics = graph.collect(DiagnosticArray, '/diagnostics')
    message = make_image(1)
    message.header.stamp = active.get_clock().now().to_msg()
    graph.labels_of(camera, message, labels)

    def labelled_once() -> dict[str, str]:
        statuses = [m.status[0] for m in diagnostics]
        found = [{v.key: v.value for v in s.values} for s in statuses]
        return next((f for f in found if f['labelled'] == '1'), {})

    values = graph.wait_for(labelled_once)
    assert values['received'] == values['accepted'] == '1'
    assert values['backend'] == 'torch'
    assert 0 < float(values['age_p50_ms']) < 30_000
    assert diagnostics[-1].status[0].name == 'lemore_segmentation: segmentation'


def test_services_lead_through_the_whole_life(
    graph: Any, untrained: dict[str, Any], make_image: MakeImage
) -> None:
    node = graph.node(**untrained, autostart=False)
    assert graph.state(NAME) == 'unconfigured'
    for _ in range(2):
        assert graph.change(Transition.TRANSITION_CONFIGURE)
        assert graph.state(NAME) == 'inactive'
        assert graph.peer.count_publishers(f'{NAME}/labels') == 0
        for _ in range(2):
            assert graph.change(Transition.TRANSITION_ACTIVATE)
            assert graph.state(NAME) == 'active'
            labels = graph.collect(Image, f'{NAME}/labels')
            camera = graph.publisher()
            graph.labels_of(camera, make_image(1), labels)
            assert graph.change(Transition.TRANSITION_DEACTIVATE)
            graph.wait_for(lambda: not graph.peer.count_publishers(f'{NAME}/labels'))
            graph.wait_for(lambda c=camera: not c.get_subscription_count())
            graph.peer.destroy_publisher(camera)
        assert graph.change(Transition.TRANSITION_CLEANUP)
        assert graph.state(NAME) == 'unconfigured'
        assert node.segmenter is None
    assert graph.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert graph.state(NAME) == 'finalized'


@pytest.mark.usefixtures('active')
def test_an_active_node_can_be_shut_down(graph: Any) -> None:
    assert graph.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert graph.state(NAME) == 'finalized'
    graph.wait_for(lambda: not graph.peer.count_publishers(f'{NAME}/labels'))


def test_a_transition_that_the_state_lacks_is_refused(graph: Any) -> None:
    graph.node()
    assert not graph.change(Transition.TRANSITION_ACTIVATE)
    assert graph.state(NAME) == 'unconfigured'


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
    graph: Any, untrained: dict[str, Any], values: dict[str, Any], reason: str
) -> None:
    graph.node(**untrained | values)
    log = graph.collect(Log, '/rosout')
    for count in (1, 2):
        assert not graph.change(Transition.TRANSITION_CONFIGURE)
        assert graph.state(NAME) == 'unconfigured'
        graph.wait_for(lambda n=count: len([m for m in log if m.level >= 40]) == n)
    errors = [m.msg for m in log if m.level >= 40]
    assert errors[0].startswith('cannot configure: ')
    assert reason in errors[0]
    assert '\n' not in errors[0]


def test_a_pause_keeps_the_network_and_takes_no_images(
    active: Any, graph: Any, make_image: MakeImage
) -> None:
    labels = graph.collect(Image, f'{NAME}/labels')
    camera = graph.publisher()
    graph.labels_of(camera, make_image(1), labels)
    segmenter = active.segmenter
    assert switch(graph, enabled=False).success
    graph.wait_for(lambda: not camera.get_subscription_count())
    camera.publish(make_image(2))
    assert switch(graph, enabled=False).success
    assert graph.state(NAME) == 'active'
    assert switch(graph, enabled=True).success
    graph.wait_for(camera.get_subscription_count)
    graph.labels_of(camera, make_image(3), labels)
    assert [m.header.stamp.nanosec for m in labels] == [1, 3]
    assert active.segmenter is segmenter


def test_a_node_that_is_not_active_cannot_be_enabled(graph: Any) -> None:
    graph.node()
    answer = switch(graph, enabled=True)
    assert not answer.success
    assert 'not active' in answer.message


def test_qos_is_overridden_by_the_standard_parameters(
    graph: Any, untrained: dict[str, Any]
) -> None:
    overrides = {
        'qos_overrides./image.subscription.reliability': 'reliable',
        f'qos_overrides.{NAME}/labels.publisher.reliability': 'best_effort',
    }
    assert graph.node(**untrained, **overrides).start()
    # images are taken in only while somebody listens
    graph.collect(Image, f'{NAME}/color')
    graph.wait_for(lambda: graph.peer.count_subscribers('/image'))
    taken = graph.peer.get_subscriptions_info_by_topic('/image')[0].qos_profile
    given = graph.peer.get_publishers_info_by_topic(f'{NAME}/labels')[0].qos_profile
    color = graph.peer.get_publishers_info_by_topic(f'{NAME}/color')[0].qos_profile
    assert taken.reliability == ReliabilityPolicy.RELIABLE
    assert given.reliability == ReliabilityPolicy.BEST_EFFORT
    assert color.reliability == ReliabilityPolicy.RELIABLE


def test_a_wrong_qos_override_fails_the_activation(graph: Any, untrained: dict[str, Any]) -> None:
    log = graph.collect(Log, '/rosout')
    wrong = {'qos_overrides./image.subscription.reliability': 'perfect'}
    assert not graph.node(**untrained, **wrong).start()
    assert graph.state(NAME) == 'inactive'
    errors = graph.wait_for(lambda: [m.msg for m in log if m.level >= 40])
    assert errors[0].startswith('cannot activate: ')
    assert 'perfect' in errors[0]
    assert graph.peer.count_publishers(f'{NAME}/labels') == 0
