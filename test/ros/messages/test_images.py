from __future__ import annotations

import array

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lemore_ros.messages.images import ImageError, image_fields, read_image
from lemore_ros.messages.rendering import ros_message
from lemore_ros.outputs import IMAGE


def message(encoding: str = 'bgr8', *, padding: int = 0, channels: int = 3) -> Image:
    height, width = 3, 5
    step = width * channels + padding
    image = Image(height=height, width=width, step=step, encoding=encoding)
    image.data = array.array('B', [i % 251 for i in range(step * height)])
    return image


@pytest.mark.parametrize('padding', [0, 1, 7])
@pytest.mark.parametrize(
    ('encoding', 'channels', 'read_as'),
    [
        ('bgr8', 3, 'bgr8'),
        ('rgb8', 3, 'rgb8'),
        ('bgra8', 4, 'bgra8'),
        ('rgba8', 4, 'rgba8'),
        ('mono8', 1, 'mono8'),
        ('8UC1', 1, 'mono8'),
        ('8UC3', 3, 'bgr8'),
        ('8UC4', 4, 'bgra8'),
    ],
)
def test_a_frame_is_a_view_of_the_message(
    encoding: str, channels: int, read_as: str, padding: int
) -> None:
    image = message(encoding, padding=padding, channels=channels)
    frame = read_image(image)
    assert frame.encoding == read_as
    assert frame.header is image.header
    assert frame.pixels.shape == ((3, 5) if channels == 1 else (3, 5, channels))
    assert frame.pixels.dtype == np.uint8
    assert np.shares_memory(frame.pixels, np.frombuffer(image.data, np.uint8))
    for row in range(3):
        start = row * image.step
        expected = image.data[start : start + 5 * channels]
        assert frame.pixels[row].ravel().tolist() == expected.tolist()


def test_images_beyond_the_limit_are_refused() -> None:
    assert read_image(message(), 15).pixels.shape == (3, 5, 3)
    with pytest.raises(ImageError, match=r'has 5x3 pixels, allowed: up to 14 \(max_pixels\)'):
        read_image(message(), 14)


def test_more_data_than_rows_is_no_matter() -> None:
    image = message()
    image.data.extend([9, 9, 9])
    assert read_image(image).pixels.shape == (3, 5, 3)


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'height': 0}, 'width 5 and height 0, both must be at least 1'),
        ({'width': 0}, 'width 0 and height 3'),
        ({'step': 14}, 'step is 14 bytes, width 5 in bgr8 needs at least 15'),
        ({'step': 0}, 'step is 0 bytes'),
        ({'height': 4}, 'data holds 45 bytes, step 15 times 4 rows needs at least 60'),
        ({'data': array.array('B')}, 'data holds 0 bytes'),
        ({'encoding': 'jpeg'}, "encoding 'jpeg' is not read, allowed: bgr8, rgb8"),
        ({'encoding': ''}, "encoding '' is not read"),
        ({'encoding': '32FC1'}, "'32FC1' is that of a depth image, .* depth to this topic"),
        ({'encoding': '16UC1'}, "'16UC1' is that of a depth image"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, object], expected: str) -> None:
    image = message()
    for name, value in changes.items():
        setattr(image, name, value)
    with pytest.raises(ImageError, match=expected):
        read_image(image)


@pytest.mark.parametrize(
    ('encoding', 'dtype', 'shape', 'step'),
    [
        ('mono8', np.uint8, (4, 6), 6),
        ('16UC1', np.uint16, (4, 6), 12),
        ('rgb8', np.uint8, (4, 6, 3), 18),
    ],
)
def test_a_message_holds_the_pixels_without_padding(
    encoding: str, dtype: type, shape: tuple[int, ...], step: int
) -> None:
    size = int(np.prod(shape))
    pixels = (np.arange(size) * 1000 % np.iinfo(dtype).max).astype(dtype).reshape(shape)
    header = Header(frame_id='cam')
    wide = np.zeros((8, 12, *shape[2:]), dtype)
    wide[::2, ::2] = pixels
    for source in (pixels, wide[::2, ::2]):
        image = ros_message(IMAGE, header, image_fields(source, encoding))
        assert image.header is header
        assert (image.height, image.width, image.step) == (4, 6, step)
        assert (image.encoding, image.is_bigendian) == (encoding, 0)
        assert image.data.tobytes() == pixels.astype(np.dtype(dtype).newbyteorder('<')).tobytes()


@pytest.mark.parametrize(
    ('encoding', 'pixels'),
    [
        ('mono8', np.zeros((4, 6), np.uint16)),
        ('16UC1', np.zeros((4, 6), np.uint8)),
        ('rgb8', np.zeros((4, 6), np.uint8)),
        ('32SC1', np.zeros((4, 6), np.int32)),
    ],
)
def test_pixels_of_another_kind_are_refused(encoding: str, pixels: np.ndarray) -> None:
    with pytest.raises(ImageError, match=encoding):
        image_fields(pixels, encoding)


def test_a_frame_is_viewed_not_copied() -> None:
    image = Image(height=4, width=6, step=18, encoding='bgr8')
    image.data = array.array('B', bytes(4 * 18))
    assert np.shares_memory(read_image(image).pixels, np.frombuffer(image.data, np.uint8))
