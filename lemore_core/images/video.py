"""Read video files, decode H.264 and H.265 of cameras, and write H.264, which browsers play."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError
from lemore_core.common.files import atomic_write, open_regular
from lemore_core.common.limits import MAX_PIXELS

CLOCK = 90_000  # ticks a second, the usual one of video containers
H264, H265 = 'h264', 'hevc'
# the start of a unit and its type, Annex B of both
_NAL = re.compile(rb'\x00\x00\x01(.)', re.DOTALL)
# parameter sets and key frames: H.264 table 7-1, H.265 table 7-1
_H264_KEY = {5, 7}
_H265_KEY = {*range(16, 22), 33}
OPTIONS = {'crf': '23', 'preset': 'veryfast'}


class VideoError(LemoreError):
    """A video that cannot be read or written."""


def read_video(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (time in nanoseconds, RGB (H, W, 3) uint8) of every image of a video file."""
    count = 0
    with _opened(path) as container:
        stream = container.streams.video[0]
        if stream.width * stream.height > max_pixels:
            size = f'{stream.width}x{stream.height}'
            msg = f'{path} has images of {size} pixels, allowed: up to {max_pixels} (max_pixels)'
            raise VideoError(msg)
        try:
            for frame in container.decode(stream):
                yield round(1e9 * float(frame.time or 0.0)), frame.to_ndarray(format='rgb24')
                count += 1
        except av.FFmpegError as error:
            msg = f'{path} is damaged after {count} images: {error}'
            raise VideoError(msg) from error
        # a few may be left out on purpose
        if stream.frames - count > max(2, stream.frames // 100):
            msg = f'{path} breaks off: it has {count} of {stream.frames} images'
            raise VideoError(msg)


def frames_expected(path: Path) -> int:
    """Return the number of images in the header of a video file, 0 where it is missing."""
    with _opened(path) as container:
        return int(container.streams.video[0].frames)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Yield the container of a file that has a video stream."""
    with ExitStack() as stack:
        try:
            # PyAV takes no names that are not UTF-8
            file = stack.enter_context(open_regular(path))
            container = stack.enter_context(av.open(file))
        except (OSError, ValueError) as error:
            msg = f'{path} is no readable video: {getattr(error, "strerror", None) or error}'
            raise VideoError(msg) from error
        if not container.streams.video:
            msg = f'{path} holds no video stream'
            raise VideoError(msg)
        yield container


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
        self._waits = False
        if is_luma:
            plane = images[0].planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            return rows[:, : plane.width].copy()
        return np.asarray(images[0].to_ndarray(format='bgr24'), np.uint8)

    def _open(self) -> None:
        try:
            self._context = av.CodecContext.create(self._codec, 'r')
        except (av.FFmpegError, ValueError) as error:
            msg = (
                f'the FFmpeg of this PyAV has no decoder for {self._codec} ({error}): '
                'pip install --upgrade av'
            )
            raise VideoError(msg) from error
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
