from __future__ import annotations

import array

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lemore_ros.messages.images import ImageError, image_fields, read_image
from lemore_ros.messages.rendering import ros_message
from lemore_ros.outputs import IMAGE

HEIGHT, WIDTH = 6, 8
# BGR, and the same in the video range of BT.601
ORANGE = (30, 120, 220)
Y, U, V = 136, 74, 178


def message(encoding: str, rows: np.ndarray, *, padding: int = 0, big: bool = False) -> Image:
    """Return an image of these bytes (rows, bytes), with padded rows."""
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    image = Image(height=HEIGHT, width=WIDTH, encoding=encoding, is_bigendian=int(big))
    image.step = padded.shape[1]
    image.data = array.array('B', padded.tobytes())
    return image


def noise(bytes_per_row: int, rows: int = HEIGHT) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, bytes_per_row), np.uint8)


def mosaic(pattern: str) -> np.ndarray:
    """Return what a sensor with this pattern of filters sees of a wall of one colour."""
    seen = dict(zip('bgr', ORANGE, strict=True))
    tile = np.array([seen[letter] for letter in pattern], np.uint8).reshape(2, 2)
    return np.tile(tile, (HEIGHT // 2, WIDTH // 2))


def packed(*pair: int) -> np.ndarray:
    return np.tile(np.array(pair, np.uint8), (HEIGHT, WIDTH // 2))


def planar(*chroma: int) -> np.ndarray:
    luma = np.full((HEIGHT, WIDTH), Y, np.uint8)
    return np.vstack([luma, np.tile(np.array(chroma, np.uint8), (HEIGHT // 2, WIDTH // 2))])


@pytest.mark.parametrize('padding', [0, 7])
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
def test_an_image_is_a_view_of_the_message(
    encoding: str, channels: int, read_as: str, padding: int
) -> None:
    rows = noise(WIDTH * channels)
    image = message(encoding, rows, padding=padding)
    image.data.extend([9, 9, 9])  # more data than rows is no matter
    found = read_image(image)
    assert (found.encoding, found.header) == (read_as, image.header)
    assert np.shares_memory(found.pixels, np.frombuffer(image.data, np.uint8))
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    assert np.array_equal(found.pixels, rows.reshape(shape))


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize(
    ('encoding', 'rows'),
    [
        *((f'bayer_{pattern}8', mosaic(pattern)) for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')),
        ('uyvy', packed(U, Y, V, Y)),
        ('yuv422', packed(U, Y, V, Y)),
        ('yuyv', packed(Y, U, Y, V)),
        ('yuv422_yuy2', packed(Y, U, Y, V)),
        ('nv12', planar(U, V)),
        ('nv21', planar(V, U)),
    ],
)
def test_a_wall_keeps_its_color(encoding: str, rows: np.ndarray, padding: int) -> None:
    found = read_image(message(encoding, rows, padding=padding))
    assert (found.encoding, found.pixels.dtype) == ('bgr8', np.uint8)
    assert found.pixels.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(found.pixels.astype(int) - ORANGE).max() <= 3


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('bits', [10, 12, 14, 16])
@pytest.mark.parametrize(
    ('encoding', 'channels', 'read_as'),
    [('mono16', 1, 'mono8'), ('bgr16', 3, 'bgr8'), ('rgb16', 3, 'rgb8'), ('rgba16', 4, 'rgba8')],
)
def test_of_16_bits_the_upper_8_of_those_that_are_filled_are_taken(
    encoding: str, channels: int, read_as: str, bits: int, order: str, padding: int
) -> None:
    wide = np.arange(HEIGHT * WIDTH * channels).reshape(HEIGHT, -1) * 431 % 2**bits
    if channels == 4:
        wide[:, 3::4] = 65535  # opaque at every depth
    rows = wide.astype(f'{order}u2').view(np.uint8)
    found = read_image(message(encoding, rows, padding=padding, big=order == '>'))
    assert found.encoding == read_as
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    assert found.pixels.flags.c_contiguous
    assert np.array_equal(found.pixels, np.minimum(wide >> bits - 8, 255).reshape(shape))


@pytest.mark.parametrize(
    ('encoding', 'changes', 'expected'),
    [
        ('bgr8', {'height': 0}, 'width 8 and height 0, both must be at least 1'),
        ('bgr8', {'width': 0}, 'width 0 and height 6'),
        ('bgr8', {'step': 14}, 'step is 14 bytes, width 8 in bgr8 needs at least 24'),
        ('bgr8', {'height': 7}, 'data holds 144 bytes, step 24 times 7 rows needs at least 168'),
        ('bgr8', {'data': array.array('B')}, 'data holds 0 bytes'),
        ('jpeg', {}, "encoding 'jpeg' is not read, allowed: bgr8, rgb8"),
        ('', {}, "encoding '' is not read"),
        ('32FC1', {}, "'32FC1' is that of a depth image, .* depth to this topic"),
        ('16UC1', {}, "'16UC1' is that of a depth image"),
        ('uyvy', {'width': 7}, 'a uyvy image of 7x6 has an odd side'),
        ('nv12', {'width': 7, 'step': 8}, 'a nv12 image of 7x6 has an odd side'),
        ('nv12', {'height': 3}, 'a nv12 image of 8x3 has an odd side'),
        ('nv12', {}, 'data holds 144 bytes, step 24 times 9 rows needs at least 216'),
        ('mono16', {'step': 15}, 'step is 15 bytes, width 8 in mono16 needs at least 16'),
    ],
)
def test_what_contradicts_itself_is_refused(
    encoding: str, changes: dict[str, object], expected: str
) -> None:
    image = message(encoding, noise(3 * WIDTH))
    for name, value in changes.items():
        setattr(image, name, value)
    with pytest.raises(ImageError, match=expected):
        read_image(image)


def test_images_beyond_the_limit_are_refused() -> None:
    image = message('bgr8', noise(3 * WIDTH))
    assert read_image(image, 48).pixels.shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ImageError, match=r'has 8x6 pixels, allowed: up to 47 \(max_pixels\)'):
        read_image(image, 47)


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
