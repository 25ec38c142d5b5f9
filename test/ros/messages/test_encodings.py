from __future__ import annotations

import array

import numpy as np
import pytest
from sensor_msgs.msg import Image

from lemore_ros.messages.images import ImageError, read_image

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


def mosaic(pattern: str) -> np.ndarray:
    """Return what a sensor with this pattern of filters sees of a wall of one colour."""
    seen = dict(zip('bgr', ORANGE, strict=True))
    tile = np.array([seen[letter] for letter in pattern], np.uint8).reshape(2, 2)
    return np.tile(tile, (HEIGHT // 2, WIDTH // 2))


def packed(pair: tuple[int, int, int, int]) -> np.ndarray:
    return np.tile(np.array(pair, np.uint8), (HEIGHT, WIDTH // 2))


def planar(chroma: tuple[int, int]) -> np.ndarray:
    luma = np.full((HEIGHT, WIDTH), Y, np.uint8)
    return np.vstack([luma, np.tile(np.array(chroma, np.uint8), (HEIGHT // 2, WIDTH // 2))])


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize(
    ('encoding', 'rows'),
    [
        *((f'bayer_{pattern}8', mosaic(pattern)) for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')),
        ('uyvy', packed((U, Y, V, Y))),
        ('yuv422', packed((U, Y, V, Y))),
        ('yuyv', packed((Y, U, Y, V))),
        ('yuv422_yuy2', packed((Y, U, Y, V))),
        ('nv12', planar((U, V))),
        ('nv21', planar((V, U))),
    ],
)
def test_a_wall_keeps_its_color(encoding: str, rows: np.ndarray, padding: int) -> None:
    frame = read_image(message(encoding, rows, padding=padding))
    assert frame.encoding == 'bgr8'
    assert frame.pixels.shape == (HEIGHT, WIDTH, 3)
    assert frame.pixels.dtype == np.uint8
    assert np.abs(frame.pixels.astype(int) - ORANGE).max() <= 3


@pytest.mark.parametrize('padding', [0, 2, 5])
@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize(
    ('encoding', 'channels', 'read_as'),
    [('mono16', 1, 'mono8'), ('bgr16', 3, 'bgr8'), ('rgb16', 3, 'rgb8')],
)
def test_of_16_bits_the_upper_8_are_taken(
    encoding: str, channels: int, read_as: str, order: str, padding: int
) -> None:
    wide = np.arange(HEIGHT * WIDTH * channels).reshape(HEIGHT, -1) * 431 % 65536
    rows = wide.astype(f'{order}u2').view(np.uint8)
    frame = read_image(message(encoding, rows, padding=padding, big=order == '>'))
    assert frame.encoding == read_as
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    assert frame.pixels.shape == shape
    assert frame.pixels.flags.c_contiguous
    assert np.array_equal(frame.pixels, (wide // 256).reshape(shape))


@pytest.mark.parametrize(
    ('encoding', 'changes', 'expected'),
    [
        ('uyvy', {'width': 7}, 'a uyvy image of 7x6 cannot be converted'),
        ('nv12', {'width': 7}, 'a nv12 image of 7x6 cannot'),
        ('nv12', {'height': 5}, 'a nv12 image of 8x5 cannot'),
        ('nv12', {'height': 12}, 'data holds 144 bytes, step 16 times 18 rows needs at least 288'),
        ('mono16', {'step': 15}, 'step is 15 bytes, width 8 in mono16 needs at least 16'),
        ('rgb16', {}, 'step is 16 bytes, width 8 in rgb16 needs at least 48'),
    ],
)
def test_what_does_not_fit_is_refused(
    encoding: str, changes: dict[str, int], expected: str
) -> None:
    image = message(encoding, np.zeros((9, 16), np.uint8))
    for name, value in changes.items():
        setattr(image, name, value)
    with pytest.raises(ImageError, match=expected):
        read_image(image)


def test_rows_of_uyvy_need_no_even_height() -> None:
    image = message('uyvy', packed((U, Y, V, Y)))
    image.height = 5
    assert read_image(image).pixels.shape == (5, WIDTH, 3)
