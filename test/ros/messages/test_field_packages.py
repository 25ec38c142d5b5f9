"""Compare with cv_bridge and sensor_msgs_py: of an installation, or ``make test-ros-packages``."""

from __future__ import annotations

import array
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lemore_ros.messages.images import ENCODINGS, NV, read_image
from lemore_ros.messages.point_cloud import POINT, lay_out

HEIGHT, WIDTH = 12, 16
CONVERTED = [n for n, e in ENCODINGS.items() if n not in NV and (e.code or e.itemsize > 1)]
# the names by which cv_bridge knows YUV 4:2:2 on every distribution
CV_BRIDGE_NAMES = {'uyvy': 'yuv422', 'yuyv': 'yuv422_yuy2'}
# built for another NumPy, cv_bridge may end the process that calls it
BY_CV_BRIDGE = """
import sys
import numpy as np
from cv_bridge import CvBridge
from sensor_msgs.msg import Image
path, encoding, target, step = sys.argv[1:]
data = np.load(path)
image = Image(height=12, width=16, step=int(step), encoding=encoding, data=data.tobytes())
np.save(path, CvBridge().imgmsg_to_cv2(image, target))
"""


@pytest.mark.parametrize('encoding', CONVERTED)
def test_images_are_converted_as_cv_bridge_converts_them(encoding: str, tmp_path: Path) -> None:
    if find_spec('cv_bridge') is None:
        pytest.skip('cv_bridge is not installed')
    result, channels, itemsize, _ = ENCODINGS[encoding]
    step = WIDTH * channels * itemsize
    values = np.random.default_rng(0).integers(0, 256, HEIGHT * step, np.uint8)
    path = tmp_path / 'pixels.npy'
    np.save(path, values)
    target = result.replace('8', '16') if encoding.endswith('16') else result
    name = CV_BRIDGE_NAMES.get(encoding, encoding)
    command = [sys.executable, '-c', BY_CV_BRIDGE, str(path), name, target, str(step)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip('cv_bridge is installed and does not work here')
    expected = np.load(path)
    image = Image(height=HEIGHT, width=WIDTH, step=step, encoding=encoding)
    image.data = array.array('B', values.tobytes())
    found = read_image(image)
    narrow = expected >> 8 if expected.dtype == np.uint16 else expected
    assert found.encoding == result
    assert np.array_equal(found.pixels, narrow)


def test_clouds_are_laid_out_as_sensor_msgs_py_does() -> None:
    real = pytest.importorskip('sensor_msgs_py.point_cloud2', reason='not installed')
    points = np.zeros((3, 4), POINT)
    for place, name in enumerate(points.dtype.names or ()):
        points[name] = np.arange(12).reshape(3, 4) * 10 + place
    cloud = lay_out(points, Header(frame_id='cam'))
    # it takes the first dimension for the width, the memory is the same
    assert cloud == real.create_cloud(cloud.header, cloud.fields, points.reshape(4, 3))
    assert cloud.data.tobytes() == points.tobytes()
    assert real.read_points(cloud)['label'].tolist() == points['label'].ravel().tolist()
