"""Our own ways and the field's packages end at the same bytes.

The packages are part of every ROS 2 installation; elsewhere ``make test-ros-packages`` runs this
against their sources.
"""

from __future__ import annotations

import array
import sys
from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lemore_ros.messages import conversion
from lemore_ros.messages.encodings import CONVERTED, NV
from lemore_ros.messages.images import ImageError, read_image
from lemore_ros.messages.point_cloud import POINT, lay_out

HEIGHT, WIDTH = 12, 16


@pytest.fixture(autouse=True)
def _probe_again() -> None:
    conversion.cv_bridge.cache_clear()


def noise(encoding: str, *, big: bool = False) -> Image:
    _, bytes_per_pixel = CONVERTED[encoding]
    step = WIDTH * bytes_per_pixel + 6
    rows = HEIGHT + HEIGHT // 2 * (encoding in NV)
    image = Image(height=HEIGHT, width=WIDTH, step=step, encoding=encoding, is_bigendian=int(big))
    values = np.random.default_rng(0).integers(0, 256, rows * step, np.uint8)
    image.data = array.array('B', values.tobytes())
    return image


@pytest.mark.parametrize('encoding', sorted(set(CONVERTED) - set(NV)))
def test_cv_bridge_converts_as_rosbags_image_does(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('cv_bridge', reason='cv_bridge is not installed')
    if conversion.cv_bridge() is None:
        pytest.skip('cv_bridge is installed and does not work here')
    message = noise(encoding, big=encoding.endswith('16'))
    by_cv_bridge = read_image(message)
    monkeypatch.setattr(conversion, 'cv_bridge', lambda: None)
    by_rosbags = read_image(message)
    assert by_cv_bridge.encoding == by_rosbags.encoding
    assert np.array_equal(by_cv_bridge.pixels, by_rosbags.pixels)


def test_a_cv_bridge_that_breaks_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # built for NumPy 1 it may end the process
    broken = tmp_path / 'cv_bridge.py'
    broken.write_text('import os\nos.abort()\n', encoding='utf-8')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.delitem(sys.modules, 'cv_bridge', raising=False)
    assert conversion.cv_bridge() is None
    assert read_image(noise('bayer_rggb8')).pixels.shape == (HEIGHT, WIDTH, 3)


def test_without_either_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, 'cv_bridge', lambda: None)
    monkeypatch.setitem(sys.modules, 'rosbags.image', None)
    with pytest.raises(ImageError, match='pip install rosbags-image'):
        read_image(noise('nv12'))


def test_sensor_msgs_py_lays_clouds_out_as_we_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = pytest.importorskip('sensor_msgs_py.point_cloud2', reason='not installed')
    points = np.zeros((3, 4), POINT)
    for place, name in enumerate(points.dtype.names or ()):
        points[name] = np.arange(12).reshape(3, 4) * 10 + place
    header = Header(frame_id='cam')
    by_the_package = lay_out(points, header)
    read = real.read_points(by_the_package)
    monkeypatch.setitem(sys.modules, 'sensor_msgs_py.point_cloud2', None)
    by_us = lay_out(points, header)
    assert by_us == by_the_package
    assert by_us.data.tobytes() == points.tobytes()
    assert read['label'].tolist() == points['label'].ravel().tolist()
