"""Compressed images, and ends that do not fit, which the node explains."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from lemore_core.images.video import H264, H265, VideoStream
from lemore_core.segmenter import Segmenter
from lemore_ros.messages.images import read_image
from lemore_ros.node.qos import latched
from lemore_ros.node.segmentation_node import SegmentationNode
from test.encoded_video import GOP, packets_of

NAME = '/lemore_segmentation'
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = latched()

# what is larger than the middleware's shared memory gets lost on its way to another process; that
# is noticed when something smaller arrives after it
LARGE_AND_SMALL = """
import array, itertools, time, rclpy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node('camera')
publisher = node.create_publisher(Image, '/image', rclpy.qos.qos_profile_sensor_data)
images = [Image(height=n, width=n, step=n, encoding='mono8') for n in (4000, 40)]
for image in images:
    image.data = array.array('B', bytes(image.height * image.step))
    image.header.stamp.sec = 1
for image in itertools.cycle(images):
    publisher.publish(image)
    time.sleep(0.02)
"""

NOT_INSTALLED = (
    'cannot activate: image_transport is ffmpeg, and ffmpeg_image_transport_msgs is not installed: '
    'apt install ros-$ROS_DISTRO-ffmpeg-image-transport-msgs'
)


def compressed(pixels: NDArray[np.uint8], form: str, stamp: int) -> CompressedImage:
    message = CompressedImage(format=f'bgr8; {form} compressed bgr8')
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, stamp
    message.header.frame_id = 'cam'
    message.data = cv2.imencode(f'.{form}', pixels)[1].tobytes()
    return message


def warnings_in(log: list[Any]) -> list[str]:
    # the peer's end of a topic complains as well
    return [entry.msg for entry in log if entry.level == 30 and entry.name == NAME[1:]]


def test_another_transport_is_explained(graph: Any) -> None:
    node = graph.start(image_transport='compressed')
    log = graph.log()
    graph.labels()
    graph.peer.create_publisher(Image, '/image', 5)
    graph.wait_for(lambda: node.stats[''].health().message == 'segmenting')
    graph.wait_for(lambda: graph.peer.count_publishers('/image'))
    # five seconds without an image, not waited for
    node.stats[''].clock = lambda: time.monotonic() + 6.0
    warnings = graph.wait_for(lambda: warnings_in(log))
    assert warnings[0].startswith('/image/compressed: no image arrives: ')
    assert 'set image_transport to raw' in warnings[0]
    assert 'set image_transport to raw' in node.stats[''].health().message


def test_auto_takes_what_is_offered(
    graph: Any, clip_frames: list[NDArray[np.uint8]], reference: Segmenter
) -> None:
    graph.start(image_transport='auto')
    labels = graph.labels()
    packed = graph.publisher('/image/compressed', CompressedImage)
    raw = graph.peer.create_publisher(Image, '/image', 5)
    for stamp, form in enumerate(('jpeg', 'png'), start=1):
        message = compressed(cv2.resize(clip_frames[0], (160, 120)), form, stamp)
        found = graph.labels_of(packed, message, labels)
        decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
        assert found.header == message.header
        expected = reference.segment(np.asarray(decoded, np.uint8), 'bgr8').labels
        assert np.array_equal(read_image(found).pixels, expected)
    assert raw.get_subscription_count() == 0  # what is taken stays while it is offered
    graph.peer.destroy_publisher(packed)
    graph.wait_for(raw.get_subscription_count, 'the raw images to be taken')
    graph.labels_of(raw, graph.image(3), labels)


@pytest.mark.parametrize('why', ['do not come', 'are unreadable'])
def test_auto_passes_over_what_is_silent_or_unreadable(
    graph: Any, clip_frames: list[NDArray[np.uint8]], why: str
) -> None:
    node = graph.start(image_transport='auto')
    log = graph.log()
    raw = graph.peer.create_publisher(Image, '/image', 5)
    packed = graph.peer.create_publisher(CompressedImage, '/image/compressed', 5)
    labels = graph.labels()
    graph.wait_for(raw.get_subscription_count, 'the raw images to be taken')
    assert packed.get_subscription_count() == 0
    if why == 'are unreadable':
        graph.film(raw, Image(encoding='16SC7'), lambda: node.stats['']['failed'])
    # three seconds without an image that can be read, not waited for
    node.stats[''].clock = lambda: time.monotonic() + 4.0
    graph.wait_for(packed.get_subscription_count, 'the others to be tried')
    node.stats[''].clock = time.monotonic
    graph.labels_of(packed, compressed(clip_frames[0][:60, :80], 'png', 1), labels)
    graph.wait_for(lambda: not raw.get_subscription_count(), 'the first one to be left')
    said = f'images of /image {why}: taken from /image/compressed'
    graph.wait_for(lambda: said in [entry.msg for entry in log])


def test_auto_comes_back_to_what_can_be_read_again(graph: Any) -> None:
    node = graph.start(image_transport='auto')
    raw = graph.peer.create_publisher(Image, '/image', 5)
    packed = graph.peer.create_publisher(CompressedImage, '/image/compressed', 5)
    labels = graph.labels()
    broken = {raw: Image(encoding='16SC7'), packed: CompressedImage()}
    for taken in (raw, packed):
        graph.wait_for(taken.get_subscription_count, 'a topic to be taken')
        number = node.stats['']['failed']
        graph.film(taken, broken[taken], lambda n=number: node.stats['']['failed'] > n)
        # three seconds without an image that can be read, not waited for
        node.stats[''].clock = lambda: time.monotonic() + 4.0
        graph.wait_for(lambda one=taken: not one.get_subscription_count(), 'it to be left')
        node.stats[''].clock = time.monotonic
    graph.wait_for(raw.get_subscription_count, 'the first one to be tried again')
    graph.labels_of(raw, graph.image(1), labels)


def test_other_transports_are_beside_the_images_that_are_remapped(
    graph: Any, untrained: dict[str, Any]
) -> None:
    values = [Parameter(name, value=value) for name, value in untrained.items()]
    given = ['--ros-args', '-r', 'image:=/front/image_raw', '-p', 'image_transport:=auto']
    node = SegmentationNode(parameter_overrides=values, cli_args=given)
    graph.nodes.append(node)
    graph.executor.add_node(node)
    assert node.start()
    labels = graph.labels()
    packed = graph.publisher('/front/image_raw/compressed', CompressedImage)
    pixels = read_image(graph.image(1)).pixels
    graph.labels_of(packed, compressed(pixels, 'png', 1), labels)


def test_what_was_overwritten_before_it_was_read_counts_as_lost(graph: Any, active: Any) -> None:
    stats = active.stats['']
    graph.labels()
    first = graph.publisher()

    def burst(cameras: list[Any], received: int) -> int:
        """Publish five images without a break, and return how many are lost by then."""
        for camera in 5 * cameras:
            camera.publish(graph.image(1))
        graph.wait_for(lambda: stats['received'] == received)
        return int(stats['lost'])

    assert burst([first], 1) == 0, 'how many came before is not known'
    assert burst([first], 2) == 4
    assert burst([first], 3) == 8
    second = graph.peer.create_publisher(Image, '/image', 5)
    graph.wait_for(second.get_subscription_count)
    assert burst([first, second], 4) == burst([second, first], 5) == 8, 'whose is not known'
    graph.peer.destroy_publisher(first)
    graph.wait_for(lambda: graph.peer.count_publishers('/image') == 1)
    assert burst([second], 6) == 8
    assert burst([second], 7) == 12


def test_a_transport_whose_messages_are_not_installed_is_named(
    graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('ffmpeg_image_transport_msgs', 'ffmpeg_image_transport_msgs.msg'):
        monkeypatch.setitem(sys.modules, name, None)
    log = graph.log()
    assert not graph.node(**graph.untrained, image_transport='ffmpeg').start()
    graph.wait_for(lambda: [entry for entry in log if NOT_INSTALLED in entry.msg])


@pytest.mark.parametrize('transport', ['ffmpeg', 'foxglove', 'auto'])
def test_encoded_video_is_labelled_from_its_first_key_frame_on(
    graph: Any, clip_frames: list[NDArray[np.uint8]], reference: Segmenter, transport: str
) -> None:
    form = 'ffmpeg' if transport == 'auto' else transport
    packages = {'ffmpeg': 'ffmpeg_image_transport_msgs.msg', 'foxglove': 'foxglove_msgs.msg'}
    kinds = pytest.importorskip(packages[form])
    codec = {'ffmpeg': H264, 'foxglove': H265}[form]
    small = np.ascontiguousarray(cv2.resize(clip_frames[0], (160, 120))[..., ::-1])
    packets = packets_of([small // (1 + index % 2) for index in range(2 * GOP)], codec)

    def message(data: bytes, stamp: int) -> Any:
        if form == 'ffmpeg':
            made = kinds.FFMPEGPacket(encoding='libx264', width=160, height=120, data=data)
            made.header.stamp.sec, made.header.frame_id = stamp, 'cam'
            return made
        made = kinds.CompressedVideo(format='h265', frame_id='cam', data=data)
        made.timestamp.sec = stamp
        return made

    node = graph.start(image_transport=transport)
    labels = graph.labels()
    kind = kinds.FFMPEGPacket if form == 'ffmpeg' else kinds.CompressedVideo
    camera = graph.publisher(f'/image/{form}', kind)
    stream = VideoStream(codec, 10**6)
    # who subscribes in the middle has seen no key frame
    for number, index in enumerate(range(2, GOP), start=1):
        camera.publish(message(packets[index], index))
        graph.wait_for(lambda n=number: node.stats['']['failed'] == n)
    assert 'two key frames' in node.stats[''].health().message
    for index in range(GOP, 2 * GOP):
        camera.publish(message(packets[index], index))
        found = graph.wait_for(lambda i=index: [m for m in labels if m.header.stamp.sec == i])[0]
        assert found.header.frame_id == 'cam'
        expected = reference.segment(stream.decode(packets[index]), 'bgr8').labels
        assert np.array_equal(read_image(found).pixels, expected)


@pytest.mark.usefixtures('active')
def test_a_subscriber_that_asks_for_too_much_is_explained_once(graph: Any) -> None:
    log = graph.log()
    graph.peer.create_subscription(Image, f'{NAME}/labels', print, LATCHED)
    graph.wait_for(lambda: warnings_in(log))
    end = time.monotonic() + 1.2
    graph.wait_for(lambda: time.monotonic() > end)
    expected = (
        f'{NAME}/labels does not reach every subscriber: subscriber /peer asks for reliable, transient '
        'local, this node offers reliable, volatile (durability): set the parameter '
        f'qos_overrides.{NAME}/labels.publisher.durability to transient_local'
    )
    assert warnings_in(log) == [expected]


def test_lost_images_are_reported_with_the_remedy(graph: Any, active: Any) -> None:
    log = graph.log()
    graph.labels()
    graph.wait_for(lambda: graph.peer.count_subscribers('/image'))
    camera = subprocess.Popen([sys.executable, '-c', LARGE_AND_SMALL])
    try:
        warnings = graph.wait_for(lambda: [m for m in warnings_in(log) if 'lost' in m], 'a loss')
        graph.wait_for(lambda: active.stats['']['lost'], 'the number of the lost')
    finally:
        camera.kill()
        camera.wait()
    assert 0 < active.stats['']['lost'] < 10_000
    assert warnings[0].startswith('/image: the middleware lost ')
    assert 'profile config/dds/fastdds_shared_memory.xml at both ends' in warnings[0]


def test_overrides_hold_for_every_topic(graph: Any) -> None:
    inputs = {'image': 1, 'camera_info': 2, 'depth': 3, 'depth/camera_info': 4}
    outputs = {'labels': 6, 'overlay/compressed': 7, 'points': 8, 'classes': 9}
    overrides = {
        **{f'qos_overrides./{name}.subscription.depth': depth for name, depth in inputs.items()},
        **{f'qos_overrides.{NAME}/{name}.publisher.depth': n for name, n in outputs.items()},
        f'qos_overrides.{NAME}/labels.publisher.durability': 'transient_local',
    }
    node = graph.start(**overrides)
    graph.collect(PointCloud2, f'{NAME}/points')
    graph.wait_for(lambda: graph.peer.count_subscribers('/depth/camera_info'))
    taken = {entry.topic_name: entry.qos_profile.depth for entry in node.subscriptions}
    offered = {entry.topic_name: entry.qos_profile for entry in node.publishers}
    assert {name: taken[f'/{name}'] for name in inputs} == inputs
    assert {name: offered[f'{NAME}/{name}'].depth for name in outputs} == outputs
    assert offered[f'{NAME}/labels'].durability == DurabilityPolicy.TRANSIENT_LOCAL
    late = graph.collect(Image, f'{NAME}/labels', LATCHED)
    assert late == []


def test_an_override_of_no_topic_is_named(graph: Any) -> None:
    form = 'qos_overrides.{}.subscription.depth'.format
    overrides = {form(f'/{name}'): 2 for name in ('image', 'image/compressed', 'camera/image')}
    log = graph.log()
    graph.start(image_transport='auto', **overrides)
    graph.wait_for(lambda: warnings_in(log))
    (warning,) = warnings_in(log)
    assert warning.startswith(
        f'{form("/camera/image")!r} sets no QoS of this node: it has the form'
    )
