from __future__ import annotations

import array
import struct

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

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
@pytest.mark.parametrize('padding', [0, 1, 6])
def test_millimetres_become_metres(padding: int, big: bool) -> None:
    values = np.array([[0, 1, 1500], [65535, 258, 0]], np.uint16)
    depth = to_metres(message(values, '16UC1', padding=padding, big=big))
    assert depth.dtype == np.float32
    expected = np.array([[NAN, 0.001, 1.5], [65.535, 0.258, NAN]], np.float32)
    np.testing.assert_allclose(depth, expected, rtol=1e-6)


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('padding', [0, 1, 8])
def test_metres_that_are_no_measurement_become_nan(padding: int, big: bool) -> None:
    values = np.array([[0.0, -1.0, NAN, INF], [-INF, 1e-3, 2.5, 1e6]], np.float32)
    depth = to_metres(message(values, '32FC1', padding=padding, big=big))
    expected = np.array([[NAN, NAN, NAN, NAN], [NAN, 1e-3, 2.5, 1e6]], np.float32)
    np.testing.assert_array_equal(depth, expected)


def test_the_message_is_left_as_it_is() -> None:
    image = message(np.array([[0.0, 2.0]], np.float32), '32FC1')
    before = image.data.tobytes()
    to_metres(image)
    assert image.data.tobytes() == before


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


def packed(values: np.ndarray, form: str, near: float = 0.0, far: float = 0.0) -> CompressedImage:
    """Return what compressed_depth_image_transport publishes of 16-bit values."""
    data = struct.pack('<iff', 0, near, far) + cv2.imencode('.png', values)[1].tobytes()
    return CompressedImage(format=form, data=array.array('B', data))


def test_compressed_depth_is_that_of_the_raw_image() -> None:
    values = np.array([[0, 1, 1500], [65535, 258, 0]], np.uint16)
    for form in ('16UC1; compressedDepth png', '16UC1; compressedDepth'):
        np.testing.assert_array_equal(
            to_metres(packed(values, form)), to_metres(message(values, '16UC1'))
        )
    # as the encoder has it: steps of inverse depth, of which 100 is the most and 0 none
    metres = np.array([[1.0, 2.0], [4.0, NAN]], np.float32)
    near, far = 10_000 * 1.1, 1.0 - 10_000 * 1.1 / 10.0
    steps = np.nan_to_num(near / metres + far).astype(np.uint16)
    found = to_metres(packed(steps, '32FC1; compressedDepth png', near, far))
    np.testing.assert_allclose(found, metres, rtol=1e-3)


@pytest.mark.parametrize(
    ('wrong', 'reason'),
    [
        (packed(np.ones((2, 2), np.uint16), '16UC1; compressedDepth rvl'), 'republish'),
        (packed(np.ones((2, 2), np.uint16), 'jpeg'), "format 'jpeg', allowed: 16UC1 or 32FC1"),
        (packed(np.ones((2, 2), np.uint8), '16UC1; compressedDepth'), 'is uint8 of shape'),
        (CompressedImage(format='16UC1; compressedDepth', data=b'12345'), '5 bytes are no'),
        (CompressedImage(format='16UC1; compressedDepth', data=bytes(90)), 'is not read, allowed'),
    ],
)
def test_what_is_no_compressed_depth_is_named(wrong: CompressedImage, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        to_metres(wrong)
    with pytest.raises(ImageError, match='max_pixels'):
        to_metres(packed(np.ones((20, 20), np.uint16), '16UC1; compressedDepth'), max_pixels=399)
