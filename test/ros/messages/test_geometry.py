"""What planners and maps take besides the labels: calibration, points and the table of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from lemore_core.segmenter import Segmenter
from lemore_ros.messages.images import read_image
from lemore_ros.messages.point_cloud import POINT

NAME = '/lemore_segmentation'
SIZE = (60, 80)


@pytest.fixture
def calibration() -> CameraInfo:
    fx, fy, cx, cy = 100.0, 90.0, 39.5, 29.5
    info = CameraInfo(height=SIZE[0], width=SIZE[1])
    info.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    info.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def depth_image(metres: NDArray[np.float64], encoding: str, stamp: int) -> Image:
    height, width = metres.shape
    kind, unit = {'16UC1': ('<u2', 1000), '32FC1': ('<f4', 1)}[encoding]
    values = (metres * unit).astype(kind)
    message = Image(height=height, width=width, encoding=encoding, step=width * values.itemsize)
    message.data = values.tobytes()
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, stamp
    return message


def slope() -> NDArray[np.float64]:
    """Return depths of 1 to 2 m, none measured in the first column."""
    depth = np.linspace(1.0, 2.0, SIZE[0])[:, None].repeat(SIZE[1], axis=1)
    depth[:, 0] = 0.0
    return depth


class Rig:
    """A camera with depth beside it, and those who listen to the outcome."""

    def __init__(self, graph: Any, calibration: CameraInfo) -> None:
        self.graph = graph
        self.labels = graph.labels()
        self.clouds = graph.collect(PointCloud2, f'{NAME}/points')
        self.infos = graph.collect(CameraInfo, f'{NAME}/camera_info')
        self.camera = graph.publisher()
        self.depth = graph.publisher('/depth')
        graph.publisher('/camera_info', CameraInfo).publish(calibration)
        (camera,) = graph.nodes[0].worker.cameras
        self._held = camera.subscriptions.depth
        graph.wait_for(lambda: camera.subscriptions.info, 'the calibration')

    def shoot(self, image: Image, *depths: Image) -> Image:
        """Publish depths, then the image; return its labels."""
        for count, depth in enumerate(depths, start=len(self._held) + 1):
            self.depth.publish(depth)
            self.graph.wait_for(lambda n=count: len(self._held) == n, 'the depth image')
        return self.graph.labels_of(self.camera, image, self.labels)

    def cloud(self, count: int) -> NDArray[Any]:
        """Return the points of the newest of so many clouds."""
        self.graph.wait_for(lambda: len(self.clouds) == count, f'cloud {count}')
        cloud = self.clouds[-1]
        return np.frombuffer(cloud.data, POINT).reshape(cloud.height, cloud.width)


@pytest.fixture
def rig(graph: Any, active: Any, calibration: CameraInfo) -> Rig:  # noqa: ARG001
    return Rig(graph, calibration)


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_points_are_the_pixels_at_their_depth(
    rig: Rig, reference: Segmenter, calibration: CameraInfo, encoding: str
) -> None:
    message, metres = rig.graph.image(10_000_000), slope()
    labels = rig.shoot(message, depth_image(metres, encoding, 10_000_000))
    rig.graph.wait_for(lambda: rig.infos, 'the camera info')
    assert rig.infos[0].header == labels.header
    assert (rig.infos[0].width, rig.infos[0].height) == (labels.width, labels.height)
    assert list(rig.infos[0].k) == list(calibration.k)
    points = rig.cloud(1)
    assert rig.clouds[0].header == message.header
    assert np.isnan(points['z'][:, 0]).all()
    expected = metres[:, 1:].astype('<f4')
    assert np.allclose(points['z'][:, 1:], expected, atol=1.1e-3)
    x = (np.arange(1, SIZE[1]) - calibration.k[2]) * expected / calibration.k[0]
    assert np.allclose(points['x'][:, 1:], x, atol=2e-3)
    result = reference.segment(read_image(message).pixels, 'bgr8')
    assert np.array_equal(points['label'], result.labels)
    assert np.allclose(points['confidence'], result.confidence / 255)


def test_labels_without_depth_go_on(rig: Rig, graph: Any) -> None:
    log = graph.log()
    for stamp in range(1, 6):
        rig.shoot(graph.image(stamp))
    graph.wait_for(lambda: len(rig.infos) == 5)
    warnings = graph.wait_for(lambda: [m.msg for m in log if m.level == 30 and 'depth' in m.msg])
    assert warnings == ['/image: no points: no depth image within 20 ms of the image']
    assert not rig.clouds
    assert graph.nodes[0].stats['']['failed'] == 0


@pytest.mark.usefixtures('active')
def test_points_without_a_depth_topic_are_said(graph: Any) -> None:
    graph.collect(PointCloud2, f'{NAME}/points')
    labels, log = graph.labels(), graph.log()
    graph.labels_of(graph.publisher(), graph.image(1), labels)
    (said,) = graph.wait_for(lambda: [m.msg for m in log if 'no points' in m.msg])
    assert said == (
        '/image: no points: nobody publishes sensor_msgs/msg/Image on /depth, remap depth to that '
        'of the depth images'
    )


def test_depth_of_another_frame_is_named(rig: Rig, graph: Any) -> None:
    log = graph.log()
    depth = depth_image(slope(), '32FC1', 1)
    depth.header.frame_id = 'depth_camera'
    rig.shoot(graph.image(1, frame_id='color_camera'), depth)
    rig.cloud(1)
    (said,) = graph.wait_for(lambda: [m.msg for m in log if m.level == 30 and 'depth' in m.msg])
    assert said == (
        "/image: the depth image is of frame 'depth_camera', the image of 'color_camera': "
        'depth must be registered to the camera'
    )


def test_a_camera_that_is_not_calibrated_still_has_points_by_its_depth_camera(
    graph: Any, active: Any, calibration: CameraInfo
) -> None:
    rig = Rig(graph, CameraInfo(height=SIZE[0], width=SIZE[1]))
    graph.publisher('/depth/camera_info', CameraInfo).publish(calibration)
    (camera,) = active.worker.cameras
    graph.wait_for(lambda: camera.subscriptions.depth_info, 'the calibration of the depth')
    log = graph.log()
    rig.shoot(graph.image(1), depth_image(slope(), '32FC1', 1))
    assert np.isfinite(rig.cloud(1)['z'][:, 1:]).all()
    warnings = graph.wait_for(lambda: [m.msg for m in log if m.level == 30])
    assert warnings[0].startswith('/image: the camera is not calibrated')
    assert not rig.infos
