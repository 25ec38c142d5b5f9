from __future__ import annotations

import array
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from lemore_ros.messages.images import (
    ImageError,
    compressed_fields,
    image_fields,
    read_compressed,
    read_image,
)
from lemore_ros.messages.rendering import ros_message
from lemore_ros.outputs import COMPRESSED_IMAGE
from lemore_ros.outputs import IMAGE as IMAGE_MESSAGE

# blue and red of two sizes, in BGR
IMAGE = np.zeros((24, 40, 3), np.uint8)
IMAGE[:, :10] = (250, 20, 10)
IMAGE[:, 10:] = (10, 20, 250)


def message(data: bytes | np.ndarray, form: str = 'jpeg') -> CompressedImage:
    raw = data if isinstance(data, bytes) else data.tobytes()
    result = CompressedImage(format=form, header=Header(frame_id='cam'))
    result.data = array.array('B', raw)
    return result


def encoded(pixels: np.ndarray, suffix: str = '.jpg') -> bytes:
    return bytes(cv2.imencode(suffix, pixels)[1].tobytes())


def turned(jpeg: bytes) -> bytes:
    """Return the file with the Exif remark that it is to be shown turned by a quarter."""
    entry = struct.pack('<HHIHH', 0x0112, 3, 1, 6, 0)
    exif = b'Exif\0\0II*\0' + struct.pack('<IH', 8, 1) + entry + bytes(4)
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + jpeg[2:]


@pytest.mark.parametrize(
    ('form', 'suffix', 'order'),
    [
        ('jpeg', '.jpg', 'bgr8'),
        ('JPEG', '.jpg', 'bgr8'),
        ('png', '.png', 'bgr8'),
        ('', '.png', 'bgr8'),
        ('rgb8; jpeg compressed bgr8', '.jpg', 'bgr8'),
        ('bgr8;png compressed bgr8', '.png', 'bgr8'),
        ('rgb8; jpeg compressed rgb8', '.jpg', 'rgb8'),
        ('bgr8; png compressed rgb8', '.png', 'rgb8'),
        ('RGB8; JPEG compressed  RGB8', '.jpg', 'rgb8'),
        ('image/jpeg', '.jpg', 'bgr8'),
        ('.jpg', '.jpg', 'bgr8'),
        ('MJPG', '.jpg', 'bgr8'),
        ('image/png', '.png', 'bgr8'),
        ('jpeg\0', '.jpg', 'bgr8'),
        ('jpeg; compressed', '.jpg', 'bgr8'),
        ('rgb8', '.jpg', 'bgr8'),
    ],
)
def test_an_image_in_color(form: str, suffix: str, order: str) -> None:
    source = message(encoded(IMAGE, suffix), form)
    frame = read_compressed(source)
    assert frame.header is source.header
    assert frame.encoding == order
    assert frame.pixels.shape == IMAGE.shape
    away = np.abs(frame.pixels.astype(int) - IMAGE)
    assert away.mean() < 4 if suffix == '.jpg' else not away.any()


@pytest.mark.parametrize(
    ('form', 'suffix'),
    [
        ('jpeg', '.jpg'),
        ('mono8; png compressed ', '.png'),
        # compressed_image_transport of ROS 2
        ('bayer_rggb8; jpeg compressed mono8', '.jpg'),
        ('yuv422_yuy2; jpeg compressed mono8', '.jpg'),
    ],
)
def test_an_image_in_grey(form: str, suffix: str) -> None:
    found = read_compressed(message(encoded(IMAGE[..., 2], suffix), form))
    assert found.encoding == 'mono8'
    assert found.pixels.shape == IMAGE.shape[:2]
    assert found.pixels[5, 30] > 240


@pytest.mark.parametrize(
    'form',
    ['{0}; png compressed ', '{0};png', 'png compressed {0}', '{0}', '{1}; PNG compressed {1}'],
)
@pytest.mark.parametrize('bits', [8, 12, 16])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_a_mosaic_is_read_as_its_raw_message(pattern: str, bits: int, form: str) -> None:
    wide = cv2.resize(IMAGE[..., 0], (40, 24)).astype(np.uint8 if bits == 8 else np.uint16)
    wide <<= bits - 8
    encoding = f'bayer_{pattern}{8 if bits == 8 else 16}'
    words = form.format(encoding, encoding.upper())
    sent = read_compressed(message(encoded(wide, '.png'), words))
    raw = ros_message(IMAGE_MESSAGE, Header(), image_fields(wide.view(np.uint8), 'mono8'))
    raw.encoding, raw.width = encoding, 40
    assert sent.encoding == 'bgr8'
    assert np.array_equal(sent.pixels, read_image(raw).pixels)
    colors = message(encoded(IMAGE, '.png'), f'{encoding}; png compressed bgr8')
    assert np.array_equal(read_compressed(colors).pixels, IMAGE)


def test_the_pixels_stay_where_the_camera_info_has_them() -> None:
    data = turned(encoded(IMAGE))
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (40, 24, 3)
    assert read_compressed(message(data)).pixels.shape == (24, 40, 3)


@pytest.mark.parametrize(
    ('form', 'suffix', 'expected'),
    [
        (
            'h264',
            '.bmp',
            "of format 'h264', are not read: what begins with b'BM.*allowed: jpeg, png",
        ),
        ('bgr8; webp compressed bgr8', '.webp', "webp compressed bgr8', are not read: .*b'RIFF"),
        ('png compressed 16UC1', '.png', "'16UC1' is that of a depth image"),
        ('16UC1; compressedDepth png', '.png', 'is that of a depth image'),
        ('16UC1; png compressed ', '.png', "'16UC1' is that of a depth image"),
        ('jpeg', '.jpg', "of format 'jpeg', are not read: .*cut short"),
        ('mjpeg', '', "of format 'mjpeg', are not read: an empty image is not read"),
    ],
)
def test_other_formats_and_damaged_data_are_named(form: str, suffix: str, expected: str) -> None:
    with pytest.raises(ImageError, match=expected):
        read_compressed(message(encoded(IMAGE, suffix)[:-30] if suffix else b'', form))


@pytest.mark.parametrize(('dtype', 'encoding'), [(np.uint8, 'mono8'), (np.uint16, '16UC1')])
def test_labels_come_back_bit_for_bit(dtype: type, encoding: str) -> None:
    labels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (31, 45), dtype, True)
    header = Header(frame_id='cam')
    for source in (labels, labels[::2, ::3]):
        result = ros_message(
            COMPRESSED_IMAGE, header, compressed_fields(source, encoding, form='png')
        )
        assert result.header is header
        assert result.format == f'{encoding}; png compressed '
        raw = np.frombuffer(result.data, np.uint8)
        back = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
        assert back.dtype == dtype
        assert np.array_equal(back, source)


@pytest.mark.parametrize('form', ['jpeg', 'png'])
def test_an_overlay_comes_back_in_its_colors(form: str) -> None:
    rgb = np.ascontiguousarray(IMAGE[..., ::-1])
    result = ros_message(COMPRESSED_IMAGE, Header(), compressed_fields(rgb, 'rgb8', form=form))
    assert result.format == f'rgb8; {form} compressed bgr8'
    frame = read_compressed(result)
    assert frame.encoding == 'bgr8'
    assert np.abs(frame.pixels.astype(int) - IMAGE).mean() < 4


@pytest.mark.parametrize(
    ('pixels', 'encoding', 'form', 'expected'),
    [
        (np.zeros((4, 6), np.uint8), 'mono8', 'jpeg', 'mono8 is not written as jpeg, which'),
        (np.zeros((4, 6), np.uint8), 'mono8', 'webp', "form 'webp' is not written, allowed: png"),
        (np.zeros((4, 6), np.uint16), 'mono8', 'png', 'uint16 pixels of shape'),
        (np.zeros((4, 6), np.uint8), 'bgr8', 'png', "encoding 'bgr8' is not written"),
    ],
)
def test_what_is_not_written(pixels: Any, encoding: str, form: str, expected: str) -> None:
    with pytest.raises(ImageError, match=expected):
        compressed_fields(pixels, encoding, form=form)
