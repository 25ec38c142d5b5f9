"""Read video files, decode H.264 and H.265 of cameras, and write H.264, which browsers play."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from functools import partial, reduce
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.stream import Disposition
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError, counted, in_one_line, refusing
from lemore_core.common.files import atomic_write, open_regular
from lemore_core.common.limits import MAX_PIXELS
from lemore_core.images.image import BitDepth

_log = logging.getLogger(__name__)
COVER = Disposition.attached_pic
CLOCK = 90_000  # ticks a second, the usual one of video containers
H264, H265 = 'h264', 'hevc'
# the start of a unit and its type, Annex B of both
_NAL = re.compile(rb'\x00\x00\x01(.)', re.DOTALL)
# parameter sets and key frames: H.264 table 7-1, H.265 table 7-1
_H264_KEY = {5, 7}
_H265_KEY = {*range(16, 22), 33}
_SLICE, _IDR, _SPS = 1, 5, 7
# profiles whose parameter sets tell the format of colours, H.264 7.3.2.1.1
_HIGH = {100, 110, 122, 244, 44, 83, 86, 118, 128}
# Matroska and WebM: the head of a file, and the length of all behind it unless that is unknown
_SEGMENT = re.compile(rb'\x1aE\xdf\xa3.{,999}?\x18S\x80g\x01(?!\xff{7})(.{7})', re.DOTALL)
GIF, GIF_END = b'GIF8', b';'
SQUARE, LONGEST = 0.01, 4  # ratios of a pixel's sides: as good as 1, the most that is believed
OPTIONS = {'crf': '23', 'preset': 'veryfast'}


class VideoError(LemoreError):
    """A video that cannot be read or written."""


def read_video(
    path: Path, max_pixels: int = MAX_PIXELS, bits: int = 0
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (time in nanoseconds, RGB (H, W, 3) uint8) of every image of a video file, upright.

    A VideoError at the end names what could not be read between them. ``bits`` is the depth of
    16-bit images, 0 to find it.
    """
    problems, count = list[str](), 0
    with _opened(path) as (container, stream):
        aspect = _aspect(stream)
        size = round(stream.width * aspect), stream.height
        if math.prod(size) > max_pixels:
            shown = f'{size[0]}x{size[1]}'
            msg = f'{path} has images of {shown} pixels, allowed: up to {max_pixels} (max_pixels)'
            raise VideoError(msg)
        if sum(not s.disposition & COVER for s in container.streams.video) > 1:
            _log.warning('%s has several videos, the one of %dx%d is read', path, *size)
        rate = stream.average_rate or stream.guessed_rate or 25
        seconds = -1 / rate
        # of a stream whose images change their size
        stream.codec_context.options = {'max_pixels': str(max_pixels)}
        read = partial(_upright, aspect=aspect, depth=BitDepth(path.name), bits=bits)
        # AVI has times of decoding only, and images come in the order of display
        clock = 'dts' if container.format.name == 'avi' else 'pts'
        for time, pixels in _decoded(container.demux(stream), read, clock, problems):
            # raw streams have no times, nor the last images of AVI
            seconds = seconds + 1 / rate if time is None else time
            yield round(1e9 * float(seconds)), pixels
            count += 1
        if _is_cut(path, getattr(stream, 'index_entries', ())):
            msg = f'{path} breaks off: it has {count} images, its index or header names more'
            raise VideoError(msg)
        if problems:
            parts = counted(len(problems), 'part')
            msg = f'{path} is damaged: {parts} cannot be read ({problems[0]})'
            raise VideoError(msg)
        # that of a trimmed video counts images that its edit list hides
        expected = stream.frames or count + _images_after(seconds, container, rate)
        if expected - count > max(2, expected // 100):
            _log.warning('%s: its header counts %d images, it has %d', path, expected, count)


def frames_expected(path: Path) -> int:
    """Return the number of images in the header of a video file, 0 where it is missing."""
    with _opened(path) as (_, stream):
        return int(stream.frames)


def _aspect(stream: Any) -> float:
    """Return the width of a stream's pixels by their height."""
    aspect = float(stream.sample_aspect_ratio or 1)
    is_odd = abs(aspect - 1) > SQUARE and 1 / LONGEST <= aspect <= LONGEST
    return aspect if is_odd else 1.0


def _images_after(seconds: float, container: Any, rate: Fraction | float) -> int:
    """Return the number of images between the last one and the end that a header names."""
    duration: float = (container.duration or 0) / av.time_base
    return max(0, round(float(rate) * (duration - float(seconds))) - 1)


def _is_cut(path: Path, index: Iterable[Any]) -> bool:
    """Return whether a file lacks its end, by its index or by its own length."""
    size = path.stat().st_size
    with open_regular(path) as file:
        head = file.read(1024)
        file.seek(max(0, size - 64))
        tail = file.read().rstrip(b'\0')
    if head.startswith(GIF):
        return not tail.endswith(GIF_END)
    found = _SEGMENT.match(head)
    length = found.end() + int.from_bytes(found[1], 'big') if found else 0
    return any(end > size for end in (length, *(entry.pos + entry.size for entry in index)))


def _decoded(
    packets: Iterator[Any],
    read: Callable[[Any], NDArray[np.uint8]],
    clock: str,
    problems: list[str],
) -> Iterator[tuple[float | None, NDArray[np.uint8]]]:
    """Yield (seconds, pixels) of the frames; a packet that cannot be read costs only itself."""
    undecoded = 0
    while True:
        try:
            packet = next(packets, None)
            found = packet.decode() if packet else []
            if packet and packet.stream.codec_context.name == H265:
                # FFmpeg passes over the images whose references are missing
                undecoded += (packet.size > 0 and not packet.is_discard) - len(found)
            problems += ['an image is damaged' for f in found if f.is_corrupt]
            frames = [(getattr(f, clock), f, read(f)) for f in found if not f.is_corrupt]
        except (av.FFmpegError, ValueError) as error:
            problems.append(in_one_line(error))
            continue
        if packet is None:
            problems += ['an image refers to missing ones'] * undecoded
            return
        for ticks, frame, pixels in frames:
            yield None if ticks is None else float(ticks * frame.time_base), pixels


def _upright(frame: Any, aspect: float, depth: BitDepth, bits: int) -> NDArray[np.uint8]:
    """Return a frame as RGB (H, W, 3) of square pixels, turned as its display matrix says."""
    width = round(frame.width * aspect)
    if frame.format.components[0].bits == 16:
        pixels = depth.to_8bit(frame.to_ndarray(format='rgb48le', width=width), bits)
    else:
        pixels = frame.to_ndarray(format='rgb24', width=width)
    matrix = frame.side_data.get('DISPLAYMATRIX')
    if matrix is None:
        return pixels
    # x, y of the display are a * x + c * y, b * x + d * y of the frame
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(int)
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Yield the container of a file and its largest video stream, but for cover pictures."""
    with ExitStack() as stack:
        with refusing(f'{path} is no readable video', VideoError):
            # PyAV takes no names that are not UTF-8
            file = stack.enter_context(open_regular(path))
            container = stack.enter_context(av.open(file))
        found = [
            s for s in container.streams.video if s.codec_context and not s.disposition & COVER
        ]
        if not found:
            msg = f'{path} holds no video stream that can be decoded'
            raise VideoError(msg)
        yield container, max(found, key=lambda stream: stream.width * stream.height)


@contextmanager
def video_writer(path: Path) -> Iterator[VideoWriter]:
    """Yield the writer of a video file, which appears when the block ends well."""
    with atomic_write(path) as temporary, av.open(str(temporary), 'w') as container:
        writer = VideoWriter(path, container)
        yield writer
        writer.finish()


class VideoWriter:
    """Writes images of one size, see :func:`video_writer`."""

    def __init__(self, path: Path, container: Any) -> None:
        self.count = 0
        self._path, self._container = path, container
        self._stream: Any = None
        self._first = 0

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))

    def write(self, time: int, pixels: NDArray[np.uint8]) -> None:
        """Add an RGB image (H, W, 3) uint8 at ``time`` nanoseconds; the first one starts it."""
        # H.264 with halved colours needs even sides
        height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
        stream = self._stream
        fits = stream is None or (stream.height, stream.width) == (height, width)
        if min(height, width) == 0 or not fits:
            msg = f'an image of {width}x{height} does not fit into {self._path}'
            raise VideoError(msg)
        if stream is None:
            self._first = time
            self._stream = stream = self._container.add_stream('libx264', rate=25)
            stream.time_base = stream.codec_context.time_base = Fraction(1, CLOCK)
            stream.pix_fmt = 'yuv420p'
            stream.options = OPTIONS
            stream.height, stream.width = height, width
        even = np.ascontiguousarray(pixels[:height, :width])
        frame = av.VideoFrame.from_ndarray(even, format='rgb24')
        frame.time_base = Fraction(1, CLOCK)
        frame.pts = (time - self._first) * CLOCK // 10**9
        self._container.mux(stream.encode(frame))
        self.count += 1


class VideoStream:
    """Decoder of one stream's packets, in their order; B-frames are not supported.

    ``codec`` is ``H264`` or ``H265``. Decoding begins at a key frame, and after damage at the
    next one: FFmpeg would make up images that refer to missing ones.
    """

    def __init__(self, codec: str, max_pixels: int) -> None:
        self._codec = codec
        self._max_pixels = max_pixels
        self._waits = True
        self._length = self._last = 0  # of the images' numbers: their bits, and the last one
        self._open()

    def decode(self, packet: bytes, *, is_luma: bool = False) -> NDArray[np.uint8]:
        """Return the one image of a packet, BGR (H, W, 3) uint8, or raise a VideoError.

        With ``is_luma`` it is the luma as it is stored, (H, W) uint8.
        """
        if self._waits and not is_key(self._codec, packet):
            msg = 'the video begins between two key frames: waits for the next one'
            raise VideoError(msg)
        try:
            images = self._context.decode(av.Packet(packet))
        except (av.FFmpegError, ValueError) as error:
            self._open()
            msg = f'{len(packet)} bytes are no image of {self._codec}: {error}'
            raise VideoError(msg) from error
        if len(images) != 1 or images[0].is_corrupt:
            self._open()
            what = 'a damaged image' if images else 'no image, or one that needs later packets'
            msg = f'{len(packet)} bytes of {self._codec} hold {what}: waits for the next key frame'
            raise VideoError(msg)
        # FFmpeg gives no image where one of H.265 is missing, and makes up those of H.264
        is_lacking = self._codec == H264 and self._lacks_images(packet)
        if is_lacking and not is_key(H264, packet):
            self._open()
            msg = 'images before this one are missing: waits for the next key frame'
            raise VideoError(msg)
        self._waits = False
        if is_luma:
            plane, bits = images[0].planes[0], images[0].format.components[0].bits
            rows = np.frombuffer(plane, '<u2' if bits > 8 else 'u1').reshape(plane.height, -1)
            return np.asarray(rows[:, : plane.width] >> bits - 8, np.uint8)
        with refusing(f'the colours of this {self._codec} cannot be converted', VideoError):
            return np.asarray(images[0].to_ndarray(format='bgr24'), np.uint8)

    def _lacks_images(self, packet: bytes) -> bool:
        """Return whether an image that others refer to is missing before this one, H.264 7.4.3."""
        for found in _NAL.finditer(packet):
            head, bits = found[1][0], _bits_of(packet, found.end())
            kind, last = head & 0x1F, self._last
            if kind == _SPS:
                self._length = _length_of_number(bits)
            elif kind in (_SLICE, _IDR) and self._length:
                _golomb(bits), _golomb(bits), _golomb(bits)
                number = _number(bits, self._length)
                # images that none refers to have no number of their own
                self._last = number if head & 0x60 else last
                return kind == _SLICE and (number - last) % 2**self._length > 1
        return False

    def _open(self) -> None:
        lacks = f'the FFmpeg of this PyAV has no decoder for {self._codec}'
        with refusing(f'{lacks}: pip install --upgrade av', VideoError):
            self._context = av.CodecContext.create(self._codec, 'r')
        self._context.options = {'max_pixels': str(self._max_pixels)}
        # return an image with its packet, not after later ones
        self._context.flags |= Flags.low_delay
        self._context.thread_count = 1
        self._waits = True


def is_key(codec: str, packet: bytes) -> bool:
    """Return whether decoding may begin with a packet."""
    units = [found[1][0] for found in _NAL.finditer(packet)]
    if codec == H264:
        return any(unit & 0x1F in _H264_KEY for unit in units)
    return any((unit >> 1) & 0x3F in _H265_KEY for unit in units)


def _bits_of(packet: bytes, place: int) -> Iterator[int]:
    """Yield the first bits of a unit, without the bytes that keep it from looking like a start."""
    head = packet[place : place + 64].replace(b'\0\0\3', b'\0\0')
    return (byte >> shift & 1 for byte in head for shift in range(7, -1, -1))


def _number(bits: Iterator[int], length: int) -> int:
    return reduce(lambda number, bit: 2 * number + bit, islice(bits, length), 0)


def _golomb(bits: Iterator[int]) -> int:
    """Return a number that is Exp-Golomb coded, H.264 9.1."""
    zeros = sum(1 for _ in takewhile(lambda bit: bit == 0, bits))
    return (1 << zeros) - 1 + _number(bits, zeros)


def _length_of_number(bits: Iterator[int]) -> int:
    """Return the bits of ``frame_num`` by a parameter set, H.264 7.3.2.1.1; 0 where it is not found."""
    profile, *_ = _number(bits, 8), _number(bits, 16), _golomb(bits)
    # scaling lists and planes of colours are not followed
    if profile in _HIGH and (
        _golomb(bits) == 3 or _golomb(bits) + _golomb(bits) > 12 or _number(bits, 2) & 1
    ):
        return 0
    length = _golomb(bits) + 4
    return length if length <= 16 else 0
