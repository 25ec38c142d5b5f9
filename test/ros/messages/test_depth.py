from __future__ import annotations

import array

import numpy as np
import pytest
from sensor_msgs.msg import Image

from lemore_ros.messages.depth import to_metres
from lemore_ros.messages.images import ImageError

NAN, INF = float('nan'), float('inf')


def message(values: np.ndarray, encoding: str, *, padding: int = 0, big: bool = False) -> Image:
    """Return a depth image of these values, with padded rows."""
    rows = values.astype(values.dtype.newbyteorder('>' if big else '<')).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    height, width = values.shape
    image = Image(height=height, width=width, encoding=encoding, is_bigendian=int(big))
    image.step = padded.shape[1]
    image.data = array.array('B', padded.tobytes())
    return image


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('padding', [0, 6])
def test_millimetres_become_metres(padding: int, big: bool) -> None:
    values = np.array([[0, 1, 1500], [65535, 258, 0]], np.uint16)
    depth = to_metres(message(values, '16UC1', padding=padding, big=big))
    assert depth.dtype == np.float32
    expected = np.array([[NAN, 0.001, 1.5], [65.535, 0.258, NAN]], np.float32)
    np.testing.assert_allclose(depth, expected, rtol=1e-6)


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('padding', [0, 1])
def test_metres_that_are_no_measurement_become_nan(padding: int, big: bool) -> None:
    values = np.array([[0.0, -1.0, NAN, INF], [-INF, 1e-3, 2.5, 1e6]], np.float32)
    source = message(values, '32FC1', padding=padding, big=big)
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
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, object], expected: str) -> None:
    image = message(np.ones((2, 2), np.uint16), '16UC1')
    for name, value in changes.items():
        setattr(image, name, value)
    with pytest.raises(ImageError, match=expected):
        to_metres(image)
