"""Convert raw, compressed and video messages to images, and pixels to fields of the first two.

Channels of 8 bits are views of the message; those of 16 bits become 8 of the depth that a stream
fills. Bayer mosaics, raw or compressed, and YUV are converted by OpenCV, with the codes that
cv_bridge uses. The format of compressed images is read and
written as ``compressed_image_transport`` does: ``jpeg``, ``png``, or ``<encoding of the raw image>;
jpeg compressed <channel order given to the encoder>``. Video is ``FFMPEGPacket`` of
ffmpeg_image_transport, or ``CompressedVideo`` of Foxglove.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError, in_one_line, shown
from lemore_core.common.limits import MAX_PIXELS
from lemore_core.images.files import AS_TAKEN, JPEG, PNG, ImageFileError, decode_image
from lemore_core.images.image import BitDepth, Image
from lemore_ros.outputs import BY_TYPE, COMPRESSED_IMAGE

if TYPE_CHECKING:
    from lemore_core.images.video import VideoStream

# REP 118
DEPTH = ('16UC1', '32FC1')
# outgoing: encoding -> (dtype, dimensions); 16UC1 is little-endian as is_bigendian says
OUTGOING = {'mono8': ('u1', 2), '16UC1': ('<u2', 2), 'rgb8': ('u1', 3)}


class Encoding(NamedTuple):
    """Encoding of the result, channels and bytes of each, and the code of OpenCV's conversion."""

    result: str
    channels: int
    itemsize: int = 1
    code: int | None = None


# the chroma follows the luma, in half as many rows
NV = {'nv12': cv2.COLOR_YUV2BGR_NV12, 'nv21': cv2.COLOR_YUV2BGR_NV21}
YUV422 = {
    'uyvy': cv2.COLOR_YUV2BGR_UYVY,
    'yuv422': cv2.COLOR_YUV2BGR_UYVY,
    'yuyv': cv2.COLOR_YUV2BGR_YUY2,
    'yuv422_yuy2': cv2.COLOR_YUV2BGR_YUY2,
}
# ROS names a pattern by its first row, OpenCV by the second and third pixel of the second row
BAYER = {
    'bayer_rggb': cv2.COLOR_BayerBG2BGR,
    'bayer_bggr': cv2.COLOR_BayerRG2BGR,
    'bayer_gbrg': cv2.COLOR_BayerGR2BGR,
    'bayer_grbg': cv2.COLOR_BayerGB2BGR,
}
CHANNELS = {'bgr': 3, 'rgb': 3, 'bgra': 4, 'rgba': 4, 'mono': 1}
ENCODINGS: Mapping[str, Encoding] = {
    **{f'{name}8': Encoding(f'{name}8', channels) for name, channels in CHANNELS.items()},
    # drivers that use OpenCV's type names, which tell no order of channels, mean OpenCV's own order
    '8UC1': Encoding('mono8', 1),
    '8UC3': Encoding('bgr8', 3),
    '8UC4': Encoding('bgra8', 4),
    **{f'{name}8': Encoding('bgr8', 1, 1, code) for name, code in BAYER.items()},
    **{f'{name}16': Encoding('bgr8', 1, 2, code) for name, code in BAYER.items()},
    **{name: Encoding('bgr8', 2, 1, code) for name, code in YUV422.items()},
    **{name: Encoding('bgr8', 1, 1, code) for name, code in NV.items()},
    **{f'{name}16': Encoding(f'{name}8', channels, 2) for name, channels in CHANNELS.items()},
}
# labels are long runs of one value: this strategy is both the fastest and the smallest for them
PNG_RLE = cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE
PNG_FLAGS = (cv2.IMWRITE_PNG_COMPRESSION, 1, *PNG_RLE)
JPEG_QUALITY = 85
# the names of encoders (libx264, hevc_nvenc, …) hold what they encode
VIDEO_CODECS = {'264': 'h264', 'avc': 'h264', '265': 'hevc', 'hevc': 'hevc'}


class ImageError(LemoreError):
    """An image message that contradicts itself or has an unsupported encoding."""


class DepthImageError(ImageError):
    """A depth image where an image is expected."""


def read_image(
    message: Any, max_pixels: int = MAX_PIXELS, bits: int = 0, depth: BitDepth | None = None
) -> Image:
    """View a ``sensor_msgs/Image`` (rclpy's, or any object with its fields) as an image.

    Encodings of 8-bit channels are views of the message's own memory, their rows may be padded.
    Bayer mosaics and YUV (BT.601) become bgr8; see :class:`BitDepth` for ``bits`` of 16.
    """
    encoding = message.encoding
    refuse_depth(encoding)
    size = f'{message.width}x{message.height}'
    if message.height * message.width > max_pixels:
        msg = f'the image has {size} pixels, allowed: up to {max_pixels} (max_pixels)'
        raise ImageError(msg)
    if encoding not in ENCODINGS:
        msg = f'encoding {shown(encoding)} is not read, allowed: {", ".join(ENCODINGS)}'
        raise ImageError(msg)
    result, channels, itemsize, code = ENCODINGS[encoding]
    pixels: NDArray[Any] = rows_of(message, channels * itemsize)
    if itemsize == 2:
        wide = np.ascontiguousarray(pixels).view('>u2' if message.is_bigendian else '<u2')
        pixels = wide.astype(np.uint16, copy=False)
    if channels > 1:
        pixels = pixels.reshape(len(pixels), -1, channels)
    if itemsize == 2:
        pixels = (depth or BitDepth()).to_8bit(pixels, bits)
    return Image(_converted(pixels, code, f'{encoding} image of {size}'), result, message.header)


def _converted(pixels: NDArray[np.uint8], code: int | None, what: str) -> NDArray[np.uint8]:
    """Return pixels as BGR by OpenCV's code, without one as they are."""
    if code is None:
        return pixels
    try:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), code), np.uint8)
    except cv2.error as error:
        msg = f'a {what} cannot be converted: {in_one_line(error)}'
        raise ImageError(msg) from error


def image_fields(pixels: NDArray[np.uint8] | NDArray[np.uint16], encoding: str) -> dict[str, Any]:
    """Return the fields of a ``sensor_msgs/Image`` with unpadded rows, except its header.

    ``pixels`` is (H, W) uint8 for mono8, (H, W) uint16 for 16UC1, (H, W, 3) uint8 for rgb8;
    ``data`` is (bytes,) uint8.
    """
    require_outgoing(pixels, encoding)
    raw = np.ascontiguousarray(pixels, OUTGOING[encoding][0])
    return {
        'height': raw.shape[0],
        'width': raw.shape[1],
        'encoding': encoding,
        'is_bigendian': 0,
        'step': raw.strides[0],
        'data': raw.view(np.uint8).reshape(-1),
    }


def encoding_of(message: Any) -> str:
    """Return the encoding or format of an image message of any type."""
    return str(message.encoding if hasattr(message, 'encoding') else message.format)


def rows_of(message: Any, bytes_per_pixel: int) -> NDArray[np.uint8]:
    """View the bytes of an image's rows without padding, (rows, width * bytes_per_pixel)."""
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        msg = f'the image has width {width} and height {height}, both must be at least 1'
        raise ImageError(msg)
    if (message.encoding in (*YUV422, *NV) and width % 2) or (
        message.encoding in NV and height % 2
    ):
        msg = (
            f'a {message.encoding} image of {width}x{height} has an odd side, but pixels share their '
            'colour in pairs: have the driver publish rgb8 or an even size'
        )
        raise ImageError(msg)
    row = width * bytes_per_pixel
    if step < row:
        msg = f'step is {step} bytes, width {width} in {message.encoding} needs at least {row}'
        raise ImageError(msg)
    rows = height + height // 2 if message.encoding in NV else height
    data = np.frombuffer(message.data, np.uint8)
    if data.size < step * rows:
        needed = f'step {step} times {rows} rows needs at least {step * rows}'
        msg = f'data holds {data.size} bytes, {needed}'
        raise ImageError(msg)
    return data[: step * rows].reshape(rows, step)[:, :row]


def require_outgoing(pixels: NDArray[Any], encoding: str) -> None:
    """Refuse pixels that do not match an outgoing encoding."""
    if encoding not in OUTGOING:
        msg = f'encoding {encoding!r} is not written, allowed: {", ".join(OUTGOING)}'
        raise ImageError(msg)
    dtype, dimensions = OUTGOING[encoding]
    if pixels.ndim != dimensions or pixels.dtype.kind + str(pixels.itemsize) != dtype[-2:]:
        msg = f'{pixels.dtype} pixels of shape {pixels.shape} are no {encoding} image'
        raise ImageError(msg)


def refuse_depth(encoding: str) -> None:
    """Refuse the encodings of depth images (REP 118) where an image is expected."""
    if encoding in DEPTH:
        msg = (
            f'encoding {encoding!r} is that of a depth image, it holds no image: '
            'remap image to the color camera, and depth to this topic'
        )
        raise DepthImageError(msg)


def read_compressed(
    message: Any, max_pixels: int = MAX_PIXELS, bits: int = 0, depth: BitDepth | None = None
) -> Image:
    """Decode a ``sensor_msgs/CompressedImage`` of JPEG or PNG to an image of bgr8 or mono8.

    It is rgb8 where the format field says that the encoder took RGB for BGR, and a grey image is
    demosaiced where the field says that it is a mosaic. See :class:`BitDepth` for ``bits`` of 16.
    Transparency is dropped, and Exif rotation is ignored, because the camera info describes the
    stored pixels.
    """
    raw, order = _raw_and_order(message.format)
    decode = partial(decode_image, order='BGR', kinds=(JPEG, PNG), max_pixels=max_pixels)
    try:
        pixels = decode(bytes(message.data), AS_TAKEN, depth=depth, bits=bits)
    except ImageFileError as error:
        msg = f'the data, of format {shown(message.format)}, are not read: {error}'
        raise ImageError(msg) from error
    if pixels.ndim == 3:
        return Image(pixels, order, message.header)
    return _single_channel(pixels, raw, message.header)


def _single_channel(pixels: NDArray[np.uint8], raw: str, header: Any) -> Image:
    """Return decoded pixels (H, W) as the image of the raw encoding ``raw``, a mosaic or grey."""
    code = BAYER.get(raw.rstrip('0123456789'))
    encoding = 'mono8' if code is None else 'bgr8'
    return Image(_converted(pixels, code, f'{raw} mosaic'), encoding, header)


def compressed_fields(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], encoding: str, *, form: str
) -> dict[str, Any]:
    """Return the fields of a ``sensor_msgs/CompressedImage``, except its header.

    ``pixels`` is as for :func:`image_fields`; ``form`` is ``png`` or, for rgb8 alone, ``jpeg``.
    """
    require_outgoing(pixels, encoding)
    if form not in {'png', 'jpeg'}:
        msg = f'form {form!r} is not written, allowed: png, jpeg'
        raise ImageError(msg)
    if form == 'jpeg' and encoding != 'rgb8':
        msg = f'{encoding} is not written as jpeg, which changes class ids: use png'
        raise ImageError(msg)
    flags = PNG_FLAGS if form == 'png' else (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    order = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    _, encoded = cv2.imencode(f'.{form}', np.ascontiguousarray(order), flags)
    return {
        'format': f'{encoding}; {form} compressed {"bgr8" if encoding == "rgb8" else ""}',
        'data': np.ascontiguousarray(encoded, np.uint8).reshape(-1),
    }


def _raw_and_order(form: str) -> tuple[str, str]:
    """Return the raw image's encoding, and the order of decoded colours; refuse depth images."""
    if 'compressedDepth' in form:
        msg = f'format {shown(form)} is that of a depth image'
        raise DepthImageError(msg)
    for word in (words := re.findall(r'\w+', form)):
        refuse_depth(word)
    # drivers spell the codec as they like (jpg, image/jpeg, mjpeg, or none): the data tell it
    encodings = [word.lower() for word in words if word.lower() in ENCODINGS]
    is_rgb = re.search(r'compressed\W+rgb', form.lower())
    # ROS 2 makes grey images of mosaics before it encodes them as JPEG
    is_grey = re.search(r'compressed\W+mono', form.lower())
    raw = encodings[0] if encodings and not is_grey else ''
    return raw, 'rgb8' if is_rgb else 'bgr8'


def make_reader(kind: str, topic: str = '') -> ImageReader | VideoReader:
    """Return a reader for one topic of messages such as ``sensor_msgs/msg/Image``."""
    if BY_TYPE[kind].is_video:
        return VideoReader()
    read = read_compressed if kind == COMPRESSED_IMAGE else read_image
    return ImageReader(partial(read, depth=BitDepth(topic)))


@dataclass(frozen=True)
class ImageReader:
    """Read messages that each hold a whole image."""

    read: Callable[..., Image]

    def skip(self, message: Any, max_pixels: int = MAX_PIXELS, bits: int = 0) -> None:
        """Do nothing: no other image depends on this one."""


class VideoReader:
    """Read all messages of one topic in their order: an image depends on those before it."""

    def __init__(self) -> None:
        self._codec = ''
        self._stream: VideoStream | None = None

    def read(self, message: Any, max_pixels: int = MAX_PIXELS, _bits: int = 0) -> Image:
        """Decode a message to an image of bgr8, or mono8 if it was grey, with the message's header."""
        header, codec = message_header(message), _codec_of(message)
        try:
            from lemore_core.images.video import VideoStream
        except ImportError as error:
            msg = f'{codec} is decoded by PyAV, which is not installed: pip install av'
            raise ImageError(msg) from error
        try:
            if self._stream is None or codec != self._codec:
                self._stream, self._codec = VideoStream(codec, max_pixels), codec
            # ffmpeg_image_transport: codec, its pixels, what was encoded (a mosaic as the luma), and
            # what that was made of
            raw = [*encoding_of(message).split(';'), '', '', ''][2]
            is_luma = raw.startswith(('bayer_', 'mono'))
            pixels = self._stream.decode(bytes(message.data), is_luma=is_luma)
            return (
                _single_channel(pixels, raw, header) if is_luma else Image(pixels, 'bgr8', header)
            )
        except LemoreError as error:
            raise ImageError(str(error)) from error

    def skip(self, message: Any, max_pixels: int = MAX_PIXELS, _bits: int = 0) -> None:
        """Feed the decoder without returning the image."""
        with suppress(ImageError):  # the next message that is read reports it
            self.read(message, max_pixels)


def message_header(message: Any) -> Any:
    """Return the header of a message, made of the fields of a ``CompressedVideo``."""
    if hasattr(message, 'header'):
        return message.header
    if type(message.timestamp).__module__.startswith('builtin_interfaces.'):
        from std_msgs.msg import Header

        return Header(stamp=message.timestamp, frame_id=message.frame_id)
    # a bag's, where no ROS is installed
    return SimpleNamespace(stamp=message.timestamp, frame_id=message.frame_id)


def _codec_of(message: Any) -> str:
    # FFMPEGPacket: the encoder or codec, then what its pixels are
    text = encoding_of(message)
    name = text.partition(';')[0].lower()
    for part, codec in VIDEO_CODECS.items():
        if part in name:
            return codec
    msg = f'video of {shown(text)} is not read, allowed: h264, h265'
    raise ImageError(msg)
