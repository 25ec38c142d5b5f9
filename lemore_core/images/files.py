"""Image files in memory: their headers first, then their pixels, whole or not at all.

The bytes are read by Python: OpenCV ends the process on a file name that is not UTF-8. JPEG is
decoded by simplejpeg, which reports what libjpeg only warns of, such as damage within the data;
no distribution has it as a package, so where it is absent OpenCV decodes what has its end marker.
"""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError, in_one_line
from lemore_core.common.files import write_whole
from lemore_core.common.limits import MAX_PIXELS

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff', '.ppm')

# how to decode: RGB as it is to be seen; as the camera made it, grey or colour, whatever rotation
# Exif asks for; the numbers as they are in the file
UPRIGHT = cv2.IMREAD_COLOR
AS_TAKEN = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
NUMBERS = cv2.IMREAD_UNCHANGED

JPEG, PNG = 'jpeg', 'png'
OTHERS = ('bmp', 'webp', 'tiff', 'ppm')
KINDS = (JPEG, PNG, *OTHERS)
PNG_MAGIC = b'\x89PNG\r\n\x1a\n'
_MAGIC = {
    JPEG: (b'\xff\xd8',),
    PNG: (PNG_MAGIC,),
    'bmp': (b'BM',),
    'webp': (b'RIFF',),
    'tiff': (b'II*\0', b'MM\0*'),
    'ppm': tuple(f'P{digit}'.encode() for digit in range(1, 7)),
}
# libjpeg decodes every scan over the whole image; cameras write one, progressive files about ten
MOST_SCANS = 100
_IHDR = b'\0\0\0\x0dIHDR'
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # ITU T.81, table B.1
_SCAN, _SCAN_BYTES, _END = 0xDA, b'\xff\xda', b'\xff\xd9'

_log = logging.getLogger(__name__)


class ImageFileError(LemoreError):
    """An image file that is damaged, too large, of another kind, or cannot be read or written."""


class Header(NamedTuple):
    """The size of an image in pixels; for a JPEG also its colour components."""

    height: int
    width: int
    channels: int = 0


def image_files(path: Path) -> list[Path]:
    """Return the images in a folder and in all below it, by name; a file itself if it is one."""
    found = sorted(path.rglob('*')) if path.is_dir() else [path]
    return [
        one
        for one in found
        if one.suffix.lower() in SUFFIXES
        and one.is_file()
        and not any(part.startswith('.') for part in one.relative_to(path).parts)
    ]


def read_image(
    path: Path, flags: int = UPRIGHT, *, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode an image file, see :func:`decode_image`.

    Raises:
        ImageFileError: the file cannot be read, or is no whole image of at most ``max_pixels``.
    """
    content = read_bytes(path)
    try:
        return decode_image(content, flags, max_pixels=max_pixels)
    except ImageFileError as error:
        msg = f'{path} is no readable image: {error}'
        raise ImageFileError(msg) from error


def read_bytes(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        ImageFileError: the file is not there, cannot be read or is empty.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # a name may hold a null character
        msg = f'{path} cannot be read: {getattr(error, "strerror", error)}'
        raise ImageFileError(msg) from error
    if not content:
        msg = f'{path} is empty'
        raise ImageFileError(msg)
    return content


def decode_image(
    data: bytes,
    flags: int = UPRIGHT,
    *,
    order: str = 'RGB',
    kinds: Collection[str] = KINDS,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[Any]:
    """Return the image that ``data`` holds, (H, W, 3) in ``order`` (RGB or BGR), or (H, W).

    ``flags`` is ``UPRIGHT``, ``AS_TAKEN`` (both uint8) or ``NUMBERS``: of the file's own type,
    without its transparency. Nothing is decoded before the header and the lengths are checked.

    Raises:
        ImageFileError: the data are of none of ``kinds``, of more than ``max_pixels``, cut short or
            damaged.
    """
    kind, header = check_header(data, kinds=kinds, max_pixels=max_pixels)
    if kind == JPEG and _simplejpeg() is not None:
        decoded = _strict_jpeg(data, header, flags, order)
        if decoded is not None:
            return decoded
    if kind in OTHERS:
        _require_whole(data)
    return _opencv(data, flags, order)


def check_header(
    data: bytes, *, kinds: Collection[str] = KINDS, max_pixels: int = MAX_PIXELS
) -> tuple[str, Header]:
    """Return the kind of an image file and its size; nothing is decoded.

    Raises:
        ImageFileError: the data are of none of ``kinds``, of more than ``max_pixels``, or cut short.
    """
    kind = _kind(data)
    if kind not in kinds:
        found = kind or f'what begins with {data[:4]!r}'
        msg = f'{found} is not read, allowed: {", ".join(kinds)}'
        raise ImageFileError(msg)
    header = {JPEG: _jpeg_header, PNG: _png_header}.get(kind, _other_header)(data)
    if not 0 < header.height * header.width <= max_pixels:
        size = f'{header.width}x{header.height}'
        msg = f'the {kind} image has {size} pixels, allowed: 1 to {max_pixels} (max_pixels)'
        raise ImageFileError(msg)
    return kind, header


def write_image(path: Path, pixels: NDArray[Any]) -> None:
    """Write an image, (H, W) or RGB (H, W, 3), as the suffix of ``path`` says, whole or not at all.

    Raises:
        ImageFileError: the suffix or the array is none that can be encoded.
        OSError: the file cannot be written.
    """
    write_whole(path, encode_image(pixels, path.suffix))


def encode_image(pixels: NDArray[Any], suffix: str) -> bytes:
    """Return the file of an image, (H, W) or RGB (H, W, 3), of the kind that ``suffix`` names.

    Raises:
        ImageFileError: the suffix or the array is none that can be encoded.
    """
    ordered = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    try:
        done, encoded = cv2.imencode(suffix.lower(), np.ascontiguousarray(ordered))
    except cv2.error:
        done = False
    if not done:
        msg = f'{pixels.dtype} of shape {pixels.shape} is not written as {suffix!r}'
        raise ImageFileError(msg)
    return encoded.tobytes()


def _kind(data: bytes) -> str:
    found = [kind for kind, magics in _MAGIC.items() if data.startswith(magics)]
    return found[0] if found else ''


def _jpeg_header(data: bytes) -> Header:
    """Return what the frame header says, and check that the coded data have an end.

    A thumbnail in the headers has a frame and an end of its own, which do not count.
    """
    header, place = None, 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = struct.unpack_from('>xBH', data, place)
        if marker == 0xFF:  # fill bytes may precede a marker
            place += 1
            continue
        if marker in _SOF and header is None and place + 10 <= len(data):
            header = Header(*struct.unpack_from('>HHB', data, place + 5))
        if marker == _SCAN:
            break
        place += 2 + length
    if header is None or data.rfind(_END, place) < 0:
        msg = f'the {JPEG} data of {len(data)} bytes are cut short: the ' + (
            'frame header is missing' if header is None else 'end marker is missing'
        )
        raise ImageFileError(msg)
    scans = data.count(_SCAN_BYTES, place)
    if scans > MOST_SCANS:
        msg = f'the {JPEG} data have {scans} scans, allowed: up to {MOST_SCANS}'
        raise ImageFileError(msg)
    return header


def _png_header(data: bytes) -> Header:
    """Return what IHDR says, and check that every chunk lies within the data.

    libpng reserves what a chunk says that it holds before it reads it.
    """
    place = len(PNG_MAGIC)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, place)
        if kind == b'IEND' and not length and data.startswith(_IHDR, len(PNG_MAGIC)):
            width, height = struct.unpack_from('>II', data, len(PNG_MAGIC) + 8)
            return Header(height, width)
        place += 12 + length
    msg = f'the {PNG} data of {len(data)} bytes are cut short: the end chunk is missing'
    raise ImageFileError(msg)


def _other_header(data: bytes) -> Header:
    try:
        with _opened(data) as image:
            return Header(image.height, image.width)
    except ImageFileError:
        raise
    except Exception as error:  # damage shows in a dozen ways
        raise ImageFileError(in_one_line(error)) from error


def _require_whole(data: bytes) -> None:
    # OpenCV makes up what is missing
    try:
        with _opened(data) as image:
            image.load()
    except Exception as error:
        raise ImageFileError(in_one_line(error)) from error


def _opened(data: bytes) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        msg = f'{", ".join(OTHERS)} need Pillow: pip install pillow'
        raise ImageFileError(msg) from error
    return Image.open(io.BytesIO(data), formats=[kind.upper() for kind in OTHERS])


@lru_cache(1)
def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError:
        _log.warning(
            'simplejpeg is not installed: a JPEG whose data are damaged is decoded all the same; '
            'pip install simplejpeg'
        )
        return None
    return simplejpeg


def _strict_jpeg(data: bytes, header: Header, flags: int, order: str) -> NDArray[np.uint8] | None:
    """Return the pixels, None for those of a whole JPEG that only OpenCV converts or rotates."""
    is_grey = header.channels == 1 and flags != UPRIGHT
    space = 'CMYK' if header.channels == 4 else 'GRAY' if is_grey else order
    try:
        pixels = _simplejpeg().decode_jpeg(data, colorspace=space)
    except (ValueError, RuntimeError, MemoryError) as error:
        msg = f'the {JPEG} data of {len(data)} bytes are damaged: {in_one_line(error)}'
        raise ImageFileError(msg) from error
    if header.channels == 4 or (flags == UPRIGHT and b'Exif\0\0' in data[:65536]):
        return None
    return np.asarray(pixels[..., 0] if is_grey else pixels, np.uint8)


def _opencv(data: bytes, flags: int, order: str) -> NDArray[Any]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageFileError(in_one_line(error)) from error
    if pixels is None:
        msg = f'{len(data)} bytes of {_kind(data)} cannot be decoded: damaged data'
        raise ImageFileError(msg)
    if pixels.ndim == 2:
        return np.asarray(pixels)
    # transparency is the fourth channel; with one of two, PNG has grey
    return np.ascontiguousarray(pixels[..., 2::-1] if order == 'RGB' else pixels[..., :3])
