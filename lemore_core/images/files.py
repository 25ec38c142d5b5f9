"""Read and write image files: header first, then the pixels, whole or not at all.

Pillow reads headers and checks that files are whole, OpenCV decodes. Bytes are read by Python:
OpenCV ends the process on a file name that is not UTF-8.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from lemore_core.common.errors import LemoreError, in_one_line, refusing
from lemore_core.common.files import open_regular, read_regular, write_whole
from lemore_core.common.limits import ARCHIVES, MAX_IMAGE_BYTES, MAX_PIXELS
from lemore_core.images.image import BitDepth
from lemore_core.images.stderr import hold_stderr

if TYPE_CHECKING:
    from lemore_core.taxonomy import Labels, Taxonomy

SUFFIXES = ('.png', '.jpg', '.jpeg', '.jfif', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.pgm')
# named where they are left out: other images, and what is no image but may be segmented
UNREAD = (
    *('.heic', '.heif', '.hif', '.avif', '.jxl', '.jp2', '.gif', '.exr', '.dng', '.cr2', '.cr3'),
    *('.nef', '.arw', '.orf', '.rw2', '.raf', '.raw', '.hdr', '.tga', '.psd', '.svg', '.pnm'),
    '.pbm',
)
OTHERS = (
    *('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.3gp', '.mpg', '.mpeg', '.wmv', '.mts'),
    *('.m2ts', '.vob', '.flv', '.ogv', '.h264', '.h265', '.mjpeg'),
    *('.mcap', '.db3', '.bag', '.active'),
)
IMAGE_HEADS = b'\xff\xd8\xff', b'\x89PNG'
LOOKED_INTO = 1000  # files of a folder and below whose names do not tell

# how to decode: upright RGB; as the camera made it, grey or colour, without Exif's rotation;
# the numbers of the file
UPRIGHT = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
AS_TAKEN = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
NUMBERS = cv2.IMREAD_UNCHANGED

ORIENTATION, SUBFILE, PAGE = 0x0112, 0x00FE, 2
BITS, PHOTOMETRIC, WHITE_IS_0, PLANES, APART = 258, 262, 0, 284, 2
SEVERAL = 'WEBP', 'PNG', 'TIFF'  # the others of a photo as MPO are previews
JPEG, PNG = 'jpeg', 'png'
KINDS = (JPEG, PNG, 'bmp', 'webp', 'tiff', 'ppm')
PNG_MAGIC, PNG_END = b'\x89PNG\r\n\x1a\n', b'\0\0\0\0IEND\xaeB`\x82'
JPEG_END = b'\xff\xd9'


class ImageFileError(LemoreError):
    """An image file that is damaged, too large, of another kind, or cannot be read or written."""


def image_files(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return the images in a folder and below, by name, and the reasons for what is left out.

    Links are followed, but each folder is read once, under its own name if it has one here.
    """
    images, left_out, seen = list[Path](), Counter[str](), set[Path]()
    folders, links, odd = [folder], list[Path](), 0
    while folders or links:
        one = folders.pop() if folders else links.pop(0)
        if one.resolve() in seen:
            continue
        seen.add(one.resolve())
        try:
            for path in sorted(one.iterdir()):
                odd += path.suffix.lower() not in SUFFIXES
                if path.is_dir() and not path.name.startswith('.'):
                    (links if path.is_symlink() else folders).append(path)
                elif reason := _left_out(path, may_open=odd <= LOOKED_INTO):
                    left_out[reason] += 1
                elif path.suffix.lower() in SUFFIXES and not path.name.startswith('.'):
                    images.append(path)
        except OSError as error:
            left_out[f'{one} cannot be read: {error.strerror}'] += 1
    return sorted(images), left_out


def _left_out(path: Path, *, may_open: bool) -> str:
    """Return why a file that may have images is left out, or ''; its content is looked at last."""
    suffix, reason = path.suffix.lower(), ''
    if path.name.startswith('.'):
        reason = f'{path} is hidden: give it by its name' * (may_open and _has_images(path))
    elif suffix and suffix not in (*SUFFIXES, *UNREAD, *OTHERS, *ARCHIVES):
        reason = f'images called {suffix} are not read: rename them to .jpg or .png'
        reason *= may_open and _has_images(path)
    elif not path.exists():
        reason = f'{path} is a link to {path.readlink()}, which does not exist'
    elif suffix in UNREAD:
        reason = f'{suffix} files are not read: convert them to .png or .jpg'
    elif suffix in OTHERS:
        reason = f'{suffix} files in folders are not read: give them by their names'
    elif suffix in ARCHIVES:
        reason = f'{suffix} files are not read: unpack them'
    elif not suffix and may_open and _has_images(path):
        reason = 'images without an ending are not read: rename them to .jpg or .png'
    elif suffix and not path.is_file():
        reason = f'{path} is no file'
    return reason


def _has_images(path: Path) -> bool:
    """Return whether a file is a JPEG or PNG by its content, or one of a folder is by its name."""
    with suppress(OSError):
        if path.is_dir():
            return any(one.suffix.lower() in SUFFIXES for one in path.iterdir())
        with open_regular(path) as file:
            return file.read(4).startswith(IMAGE_HEADS)
    return False


def read_image(
    path: Path, flags: int = UPRIGHT, *, max_pixels: int = MAX_PIXELS, bits: int = 0
) -> NDArray[np.uint8]:
    """Decode an image file, see :func:`decode_image`."""
    content = read_bytes(path)
    try:
        return decode_image(content, flags, max_pixels=max_pixels, bits=bits)
    except ImageFileError as error:
        msg = f'{path} is no readable image: {error}'
        raise ImageFileError(msg) from error


def orientation(path: Path) -> int:
    """Return how Exif turns an image file, 1 (not) to 8."""
    with Image.open(path) as image:
        return int(image.getexif().get(ORIENTATION, 1))


def later_images(path: Path) -> int:
    """Return the number of frames or pages in an image file after the one that is read."""
    # what lies behind the first may be damaged
    with suppress(Exception), Image.open(path, formats=SEVERAL) as image:
        number = int(getattr(image, 'n_frames', 1)) - 1
        if number and image.format == 'TIFF':
            image.seek(1)
            # smaller copies and masks are no pages of their own
            number *= getattr(image, 'tag_v2', {}).get(SUBFILE, 0) in (0, PAGE)
        return number
    return 0


def read_bytes(path: Path) -> bytes:
    """Return a file's content."""
    with refusing(f'{path} cannot be read', ImageFileError):
        content = read_regular(path, MAX_IMAGE_BYTES)
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
    depth: BitDepth | None = None,
    bits: int = 0,
) -> NDArray[Any]:
    """Return the image that ``data`` holds, (H, W, 3) in ``order`` (RGB or BGR), or (H, W).

    ``flags`` is ``UPRIGHT``, ``AS_TAKEN`` (both uint8) or ``NUMBERS`` (the file's own type).
    ``bits`` is the depth of 16-bit channels, 0 to find it: from this image, or with ``depth`` from
    all of a stream.
    """
    _check_header(data, kinds, max_pixels)
    with refusing('the image cannot be decoded', ImageFileError), hold_stderr():
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        msg = f'{len(data)} bytes cannot be decoded: damaged, or not of 8 or 16 bits'
        raise ImageFileError(msg)
    if flags != NUMBERS and pixels.dtype != np.uint8:
        if pixels.dtype.kind not in 'iu' or pixels.min() < 0 or pixels.max() >> 16:
            msg = f'its values are {pixels.dtype}, images have 8 or 16 bits: convert it'
            raise ImageFileError(msg)
        pixels = (depth or BitDepth()).to_8bit(pixels.astype(np.uint16, copy=False), bits)
    if pixels.ndim == 2:
        return np.asarray(pixels)
    # transparency is the fourth channel; with one of two, PNG has grey
    return np.ascontiguousarray(pixels[..., 2::-1] if order == 'RGB' else pixels[..., :3])


def write_image(path: Path, pixels: NDArray[Any]) -> None:
    """Write an image, (H, W) or RGB (H, W, 3), as the suffix of ``path`` says, whole or not at all."""
    write_whole(path, encode_image(pixels, path.suffix))


def encode_image(pixels: NDArray[Any], suffix: str) -> bytes:
    """Return the file of an image, (H, W) or RGB (H, W, 3), of the kind that ``suffix`` names."""
    ordered = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    try:
        done, encoded = cv2.imencode(suffix.lower(), np.ascontiguousarray(ordered))
    except cv2.error:
        done = False
    if not done:
        msg = f'{pixels.dtype} of shape {pixels.shape} is not written as {suffix!r}'
        raise ImageFileError(msg)
    return encoded.tobytes()


def write_labels(path: Path, labels: Labels, taxonomy: Taxonomy) -> None:
    """Write labels (H, W) as a PNG of class ids that viewers show in the classes' colours.

    uint16 labels (more than 255 classes) are plain grey: a palette has 256 entries.
    """
    if labels.dtype != np.uint8:
        write_whole(path, encode_image(labels, '.png'))
        return
    image, content = Image.fromarray(labels), io.BytesIO()
    image.putpalette(taxonomy.palette.tobytes())
    image.save(content, PNG, compress_level=1)
    write_whole(path, content.getvalue())


def _check_header(data: bytes, kinds: Collection[str], max_pixels: int) -> None:
    """Refuse an image file by its size and length, before its pixels take memory."""
    file = io.BytesIO(data)
    try:
        image = Image.open(file, formats=[kind.upper() for kind in kinds])
    except Image.DecompressionBombError as error:
        raise ImageFileError(str(error)) from error
    except UnidentifiedImageError as error:
        allowed = f'{", ".join(kinds)} of 8 or 16 bits'
        begins = f'what begins with {data[:12]!r}' if data else 'an empty image'
        msg = f'{begins} is not read, allowed: {allowed}'
        raise ImageFileError(msg) from error
    except Exception as error:  # damage shows in a dozen ways
        msg = f'the header in {len(data)} bytes is damaged: {in_one_line(error)}'
        raise ImageFileError(msg) from error
    if image.width * image.height > max_pixels:
        size = f'{image.width}x{image.height}'
        msg = f'the image has {size} pixels, allowed: up to {max_pixels} (max_pixels)'
        raise ImageFileError(msg)
    if isinstance(image, TiffImageFile) and _is_misread(image):
        msg = 'a TIFF of 16 bits has its colours apart, or white as 0: convert it to .png'
        raise ImageFileError(msg)
    cut_short = f'the {str(image.format).lower()} data of {len(data)} bytes are cut short'
    with refusing(cut_short, ImageFileError):
        is_whole = _is_whole(image, file, data)
    if not is_whole:
        msg = f'{cut_short}: the end is missing'
        raise ImageFileError(msg)


def _is_misread(image: TiffImageFile) -> bool:
    """Return whether OpenCV would mix the colours of a TIFF, or show its negative."""
    with refusing('its tags are damaged', ImageFileError):
        bits = image.tag_v2.get(BITS, (1,))
        is_apart = len(bits) > 1 and image.tag_v2.get(PLANES) == APART
        is_negative = image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_0
        return max(bits) > 8 and (is_apart or is_negative)


def _is_whole(image: Image.Image, file: io.BytesIO, data: bytes) -> bool:
    """Return whether a file has its end: OpenCV makes up the rest of most others."""
    if data.startswith(PNG_MAGIC):
        image.verify()
        # OpenCV reserves the length that the last chunk claims
        return data.startswith(PNG_END, file.tell() - 8)
    if image.format in ('JPEG', 'MPO'):
        # not before the coded data: a thumbnail has an end of its own
        return data.rfind(JPEG_END, file.tell()) >= 0
    image.load()
    return True
