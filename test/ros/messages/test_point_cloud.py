from __future__ import annotations

import array
import struct

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from lemore_core.images import image as core
from lemore_core.segmentation import Segmentation, Timings
from lemore_ros.messages.images import ImageError
from lemore_ros.messages.point_cloud import depth_rows, to_metres, to_point_cloud

NUMPY_TYPES = {PointField.FLOAT32: '<f4', PointField.UINT32: '<u4'}
NAN, INF = float('nan'), float('inf')
HEADER = Header(frame_id='camera_color_optical_frame')


def depth_image(
    depth: object, encoding: str = '32FC1', padding: int = 0, big: bool = False
) -> Image:
    """Return a depth image of these values, with padded rows."""
    kind = {'16UC1': 'u2', '32FC1': 'f4'}[encoding]
    rows = np.array(depth, ('>' if big else '<') + kind)
    (height, width), raw = rows.shape, rows.view(np.uint8)
    padded = np.pad(raw, ((0, 0), (0, padding)), constant_values=77)
    image = Image(height=height, width=width, encoding=encoding, is_bigendian=int(big))
    image.header.frame_id, image.step = 'another', padded.shape[1]
    image.data = array.array('B', padded.tobytes())
    return image


def camera(height: int, width: int, *, fx: float = 2.0, cx: float = 1.0) -> CameraInfo:
    info = CameraInfo(height=height, width=width)
    info.k = [fx, 0.0, cx, 0.0, 4.0, 0.5, 0.0, 0.0, 1.0]
    info.p = [fx, 0.0, cx, 0.0, 0.0, 4.0, 0.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def frame(pixels: object, encoding: str = 'rgb8') -> core.Image:
    return core.Image(np.array(pixels, np.uint8), encoding, HEADER)


def segmentation(labels: object, confidence: object, dtype: type = np.uint8) -> Segmentation:
    found = np.array(labels, dtype)
    return Segmentation(found, np.array(confidence, np.uint8), (64, 64), Timings(1.0))


def grey(height: int, width: int) -> core.Image:
    return frame(np.full((height, width, 3), 7))


def plain(height: int, width: int) -> Segmentation:
    return segmentation(np.full((height, width), 3), np.full((height, width), 255))


def points_of(cloud: PointCloud2) -> np.ndarray:
    """Read a cloud by what its fields say of it."""
    dtype = np.dtype(
        {
            'names': [field.name for field in cloud.fields],
            'formats': [NUMPY_TYPES[field.datatype] for field in cloud.fields],
            'offsets': [field.offset for field in cloud.fields],
            'itemsize': cloud.point_step,
        }
    )
    assert cloud.row_step == cloud.point_step * cloud.width
    assert len(cloud.data) == cloud.row_step * cloud.height
    return np.frombuffer(cloud.data, dtype).reshape(cloud.height, cloud.width)


def test_the_cloud_is_organised_and_lies_where_the_camera_saw_it() -> None:
    depth = depth_image([[2.0, 2.0, 4.0], [1.0, 1.0, 3.0]])
    cloud = to_point_cloud(grey(2, 3), plain(2, 3), depth, camera(2, 3))
    points = points_of(cloud)
    assert cloud.header is HEADER
    assert (cloud.height, cloud.width, cloud.is_dense, cloud.is_bigendian) == (2, 3, False, False)
    assert [(field.name, field.count) for field in cloud.fields] == [
        (name, 1) for name in ('x', 'y', 'z', 'rgb', 'label', 'confidence')
    ]
    # x = (u - cx) z / fx, y = (v - cy) z / fy
    assert points['x'].tolist() == [[-1.0, 0.0, 2.0], [-0.5, 0.0, 1.5]]
    assert points['y'].tolist() == [[-0.25, -0.25, -0.5], [0.125, 0.125, 0.375]]
    assert points['z'].tolist() == [[2.0, 2.0, 4.0], [1.0, 1.0, 3.0]]


def test_labels_and_confidence_are_the_pixels_own() -> None:
    result = segmentation(
        [[0, 255, 300], [65535, 7, 8]], [[0, 51, 102], [153, 204, 255]], np.uint16
    )
    cloud = to_point_cloud(grey(2, 3), result, depth_image(np.ones((2, 3))), camera(2, 3))
    points = points_of(cloud)
    assert points['label'].tolist() == [[0, 255, 300], [65535, 7, 8]]
    expected = [[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]]
    np.testing.assert_allclose(points['confidence'], expected, atol=1e-6)


@pytest.mark.parametrize(
    ('encoding', 'pixel', 'color'),
    [
        ('rgb8', (255, 128, 3), (255, 128, 3)),
        ('bgr8', (3, 128, 255), (255, 128, 3)),
        ('rgba8', (255, 128, 3, 255), (255, 128, 3)),
        ('bgra8', (3, 128, 255, 255), (255, 128, 3)),
        ('mono8', 200, (200, 200, 200)),
    ],
)
def test_colors_are_packed_as_pcl_packs_them(
    encoding: str, pixel: object, color: tuple[int, int, int]
) -> None:
    image = frame([[pixel, pixel]], encoding)
    before = image.pixels.copy()
    cloud = to_point_cloud(image, plain(1, 2), depth_image([[1.0, 1.0]]), camera(1, 2))
    value = points_of(cloud)['rgb'][0, 1]
    assert not np.isnan(value)
    (word,) = struct.unpack('<I', struct.pack('<f', value))
    assert (word >> 16 & 255, word >> 8 & 255, word & 255, word >> 24) == (*color, 0)
    assert np.array_equal(image.pixels, before)


def test_sizes_that_differ_are_brought_to_the_depths() -> None:
    labels = np.arange(16).reshape(4, 4)
    colors = np.dstack([labels * 10] * 3)
    cloud = to_point_cloud(
        frame(colors), segmentation(labels, labels), depth_image(np.ones((2, 2))), camera(8, 8)
    )
    points = points_of(cloud)
    assert points['label'].tolist() == [[0, 2], [8, 10]]
    np.testing.assert_allclose(points['confidence'] * 255, [[0, 2], [8, 10]], atol=1e-4)
    assert (points['rgb'].view('<u4') & 255).tolist() == [[0, 20], [80, 100]]
    # the camera of 8 x 8 pixels at a quarter: fx 0.5, cx 0.25
    assert points['x'].tolist() == [[-0.5, 1.5], [-0.5, 1.5]]


def test_every_cloud_has_its_own_camera_and_memory() -> None:
    clouds = []
    for fx in (2.0, 5.0, 2.0):
        depth = depth_image([[1.0, fx]])
        clouds.append(to_point_cloud(grey(1, 2), plain(1, 2), depth, camera(1, 2, fx=fx, cx=0.0)))
    for cloud, fx in zip(clouds, (2.0, 5.0, 2.0), strict=True):
        np.testing.assert_allclose(points_of(cloud)['x'], [[0.0, 1.0]], rtol=1e-6)
        assert points_of(cloud)['z'].tolist() == [[1.0, fx]]


def test_x_y_and_z_are_measured_together() -> None:
    far = depth_image([[1e30, 9e5], [np.nan, -1.0]])
    cloud = points_of(to_point_cloud(grey(2, 2), plain(2, 2), far, camera(2, 2, fx=1e-3, cx=1e9)))
    for name in ('x', 'y', 'z'):
        assert np.isfinite(cloud[name]).ravel().tolist() == [False, True, False, False]


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('padding', [0, 6])
def test_millimetres_become_metres(padding: int, big: bool) -> None:
    values = [[0, 1, 1500], [65535, 258, 0]]
    depth = to_metres(depth_image(values, '16UC1', padding, big))
    assert depth.dtype == np.float32
    expected = np.array([[NAN, 0.001, 1.5], [65.535, 0.258, NAN]], np.float32)
    np.testing.assert_allclose(depth, expected, rtol=1e-6)


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('padding', [0, 1])
def test_metres_that_are_no_measurement_become_nan(padding: int, big: bool) -> None:
    values = [[0.0, -1.0, NAN, INF], [-INF, 1e-3, 2.5, 1e6]]
    source = depth_image(values, '32FC1', padding, big)
    before = source.data.tobytes()
    depth = to_metres(source)
    assert source.data.tobytes() == before
    expected = np.array([[NAN, NAN, NAN, NAN], [NAN, 1e-3, 2.5, 1e6]], np.float32)
    np.testing.assert_array_equal(depth, expected)


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'encoding': 'mono16'}, "depth has encoding 'mono16', allowed: 16UC1 .millimetres"),
        ({'encoding': '32FC1'}, 'step is 4 bytes, width 2 in 32FC1 needs at least 8'),
        ({'height': 9}, 'data holds 8 bytes, step 4 times 9 rows needs at least 36'),
        ({'width': 0}, 'width 0 and height 2'),
        ({'height': 11}, 'the depth image has 2x11 pixels in 8 bytes, allowed: up to 20'),
        ({'step': 40, 'data': bytes(80)}, 'has 2x2 pixels in 80 bytes, allowed: up to 20'),
        ({'encoding': 5000 * 'x'}, "depth has encoding 'x{150,199}…, allowed"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, object], expected: str) -> None:
    image = depth_image(np.ones((2, 2)), '16UC1')
    for name, value in changes.items():
        setattr(image, name, value)
    with pytest.raises(ImageError, match=expected):
        depth_rows(image, 20)


def test_depth_of_another_shape_is_no_depth_of_the_image() -> None:
    expected = 'the depth image is 8x6, the image 16x9, of another shape: depth must be registered'
    with pytest.raises(ImageError, match=expected):
        to_point_cloud(grey(9, 16), plain(9, 16), depth_image(np.ones((6, 8))), camera(6, 8))
    # half the size, rounded up
    depth = depth_image(np.ones((5, 8)))
    assert to_point_cloud(grey(9, 16), plain(9, 16), depth, camera(9, 16)).height == 5
