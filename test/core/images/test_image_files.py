from __future__ import annotations

import io
import os
import struct
import zlib
from multiprocessing.pool import ThreadPool
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lemore_core.images.files import (
    AS_TAKEN,
    NUMBERS,
    ImageFileError,
    decode_image,
    read_image,
    write_image,
)
from lemore_core.images.image import BitDepth

NOISE = np.random.default_rng(1).integers(0, 256, (64, 80, 3), np.uint8)
STREET = np.repeat(np.repeat(NOISE, 6, 0), 6, 1)


def encoded(suffix: str, pixels: np.ndarray = NOISE) -> bytes:
    return bytes(cv2.imencode(suffix, pixels[..., ::-1])[1].tobytes())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(width: int, height: int, packed: bytes) -> bytes:
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + chunk(b'IDAT', packed) + chunk(b'IEND', b'')


def claiming(jpeg: bytes, width: int, height: int) -> bytes:
    place = jpeg.index(b'\xff\xc0') + 5
    return jpeg[:place] + struct.pack('>HH', height, width) + jpeg[place + 4 :]


@pytest.mark.parametrize('suffix', ['.png', '.bmp', '.webp', '.tiff', '.ppm', '.jpg'])
def test_every_kind_is_read_in_its_colors(suffix: str) -> None:
    smooth = cv2.GaussianBlur(STREET, (31, 31), 9)
    away = np.abs(decode_image(encoded(suffix, smooth)).astype(int) - smooth)
    assert away.mean() < 2
    blue_first = decode_image(encoded(suffix, smooth), AS_TAKEN, order='BGR')
    assert np.array_equal(blue_first[..., ::-1], decode_image(encoded(suffix, smooth)))


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.bmp', '.tiff', '.ppm'])
def test_a_file_without_its_end_is_refused(suffix: str) -> None:
    content = encoded(suffix)
    assert decode_image(content + b'a note').shape == NOISE.shape
    for keep in (len(content) - 100, len(content) // 2, 40):
        with pytest.raises(ImageFileError):
            decode_image(content[:keep])


HOSTILE = {
    # 77 bytes, of which the reserved length once took gigabytes
    'a chunk longer than the file': (
        png(8, 8, b'')[:33] + struct.pack('>I', 0x7FFFFFFF) + b'IDAT' + bytes(36),
        'png data of 77 bytes are cut short: Truncated File Read',
    ),
    'an end that says it is long': (
        png(8, 8, zlib.compress(bytes(200)))[:-12] + b'\x6f\0\0\0IEND' + bytes(900),
        'png data of [0-9]+ bytes are cut short: the end is missing',
    ),
    'a png bomb': (png(50000, 50000, zlib.compress(bytes(10**6))), '2500000000 pixels'),
    'a jpeg bomb': (
        claiming(encoded('.jpg'), 8000, 8000),
        r'8000x8000 pixels, allowed: up to 50000000 \(max_pixels\)',
    ),
    'a jpeg that is flat': (claiming(encoded('.jpg'), 0, 8), 'is not read, allowed: jpeg, png'),
    'a bmp bomb': (
        encoded('.bmp')[:18] + struct.pack('<ii', 40000, 40000) + encoded('.bmp')[26:],
        'exceeds limit',
    ),
    'a jpeg without a frame': (b'\xff\xd8\xff\xda\xff\xd9', 'the header in 6 bytes is damaged'),
    'text': (b'<html>', r"what begins with b'<html>' is not read, allowed: jpeg, png, bmp"),
    'a png of noise': (png(8, 8, bytes(99)), 'cannot be decoded'),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_files_cost_nothing(name: str) -> None:
    data, expected = HOSTILE[name]
    with pytest.raises(ImageFileError, match=expected):
        decode_image(data)


def test_an_end_of_a_thumbnail_is_not_that_of_the_image() -> None:
    content = encoded('.jpg')
    thumbnail = b'Exif\0\0' + content
    header = b'\xff\xe1' + (len(thumbnail) + 2).to_bytes(2, 'big') + thumbnail
    whole = content[:2] + header + content[2:]
    assert decode_image(whole).shape == NOISE.shape
    with pytest.raises(ImageFileError, match='the end is missing'):
        decode_image(whole[:-2])


def test_a_photo_is_upright_and_cmyk_is_converted() -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(NOISE).save(buffer, 'jpeg', exif=exif)
    assert decode_image(buffer.getvalue()).shape == (80, 64, 3)
    assert decode_image(buffer.getvalue(), AS_TAKEN).shape == (64, 80, 3)
    buffer = io.BytesIO()
    Image.new('CMYK', (5, 4), (0, 255, 255, 0)).save(buffer, 'jpeg')
    assert decode_image(buffer.getvalue())[0, 0].tolist() == pytest.approx([255, 0, 0], abs=3)


def test_standard_error_keeps_what_is_not_of_the_decoders(
    capfd: pytest.CaptureFixture[str],
) -> None:
    jpeg = bytearray(encoded('.jpg'))
    middle = len(jpeg) // 2
    jpeg[middle : middle + 20] = b'\xff\x00\xff\xd3\x00' * 4
    with ThreadPool(3) as pool:
        for _ in pool.imap_unordered(decode_image, [bytes(jpeg)] * 40):
            os.write(2, b'a line\n')
    os.write(2, b'the last\n')
    assert capfd.readouterr().err == 40 * 'a line\n' + 'the last\n'
    cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert 'Corrupt JPEG' in capfd.readouterr().err  # the image is a damaged one


@pytest.mark.parametrize('suffix', ['.png', '.tiff'])
@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
def test_16_bit_channels_are_read_by_the_bits_that_they_fill(suffix: str, bits: int) -> None:
    wide = NOISE.astype(np.uint16) << bits - 8
    data = encoded(suffix, wide)
    assert np.array_equal(decode_image(data), NOISE)
    assert np.array_equal(decode_image(data, bits=16), wide >> 8)
    grey = cv2.imencode(suffix, wide[..., 0])[1].tobytes()
    assert np.array_equal(decode_image(grey, NUMBERS), wide[..., 0])
    assert np.array_equal(decode_image(grey, AS_TAKEN), NOISE[..., 0])


def test_other_values_are_refused() -> None:
    for kind in (np.float32, np.int32):
        with pytest.raises(ImageFileError, match=r'8 or 16 bits'):
            decode_image(cv2.imencode('.tiff', NOISE[..., 0].astype(kind) - 300)[1].tobytes())
    # planes of colours, and white as 0
    for tag, value, pixels in ((284, 2, NOISE), (262, 0, NOISE[..., 0])):
        data = cv2.imencode('.tiff', pixels.astype(np.uint16))[1].tobytes()
        usual, other = (struct.pack('<HHII', tag, 3, 1, number) for number in (1, value))
        with pytest.raises(ImageFileError, match=r'TIFF of 16 bits has .*: convert it'):
            decode_image(data.replace(usual, other))
    grey = cv2.imencode('.tiff', NOISE[..., 0].astype(np.int16))[1].tobytes()
    assert np.array_equal(decode_image(grey, AS_TAKEN), NOISE[..., 0])


@pytest.mark.parametrize(
    ('largest', 'read_as', 'said'),
    [
        ([4000, 200, 4000], [12, 12, 12], [12]),
        ([0, 60, 900, 4000], [16, 8, 10, 12], [8, 10, 12]),
        ([9000, 60000, 200], [14, 16, 16], [14, 16]),
        ([60000, 900], [16, 16], []),
    ],
)
def test_the_depth_of_a_stream_is_what_it_has_filled_so_far(
    largest: list[int], read_as: list[int], said: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    depth = BitDepth(f'/camera/{largest}')
    for value, bits in zip(largest, read_as, strict=True):
        image = np.full((120, 200), value, np.uint16)
        image[0, 0] = 65535  # a dead pixel
        expected = np.minimum(image >> bits - 8, 255) if value else image >> 8
        if not value:
            image[0, 0] = expected[0, 0] = 0
        assert np.array_equal(depth.to_8bit(image), expected)
    lines = [record.getMessage() for record in caplog.records]
    assert [int(line.partition(' fill ')[2].split()[0]) for line in lines] == said
    assert all(line.startswith('/camera/') and '--bit-depth' in line for line in lines)


@pytest.mark.parametrize(('lowest', 'says'), [(29000, True), (7000, True), (900, False)])
def test_values_of_a_thermal_camera_are_said_to_differ_little(
    lowest: int, says: bool, caplog: pytest.LogCaptureFixture
) -> None:
    values = lowest + NOISE[..., 0].astype(np.uint16) * 4
    for _ in range(2):
        BitDepth(f'/thermal/{lowest}').to_8bit(values)
    flat = f'/thermal/{lowest}: its 16-bit values differ little, as from thermal cameras'
    assert sum(line.startswith(flat) for line in caplog.messages) == says


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    # OpenCV ends the process on such names
    path = tmp_path / os.fsdecode(b'stra\xdfe.png')
    write_image(path, NOISE)
    assert np.array_equal(read_image(path), NOISE)
    with pytest.raises(ImageFileError, match='cannot be read'):
        read_image(path.with_suffix('.jpg'))
    with pytest.raises(ImageFileError, match=r"float64 of shape \(2, 2\) is not written as '.xyz'"):
        write_image(tmp_path / 'a.xyz', np.zeros((2, 2)))
