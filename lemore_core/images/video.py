"""Read video files, and write H.264, which browsers play."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError
from lemore_core.common.files import atomic_write
from lemore_core.common.limits import MAX_PIXELS

CLOCK = 90_000  # ticks a second, the usual one of video containers
OPTIONS = {'crf': '23', 'preset': 'veryfast'}


class VideoError(LemoreError):
    """A video that cannot be read or written."""


def read_video(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (time in nanoseconds, RGB (H, W, 3) uint8) of every image of a video file.

    Raises:
        VideoError: the file is no readable video, breaks off, or has images of more than
            ``max_pixels``.
    """
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
            file = stack.enter_context(path.open('rb'))
            container = stack.enter_context(av.open(file))
        except (OSError, ValueError) as error:
            msg = f'{path} is no readable video: {getattr(error, "strerror", None) or error}'
            raise VideoError(msg) from error
        if not container.streams.video:
            msg = f'{path} holds no video stream'
            raise VideoError(msg)
        yield container


class VideoWriter:
    """Writes images of one size into a video file, which appears when the block ends well."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._path = path
        self._resources = ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._first = 0

    def __enter__(self) -> VideoWriter:  # noqa: PYI034 - Self needs Python 3.11
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_write(self._path))
            self._container = stack.enter_context(av.open(str(temporary), 'w'))
            self._resources = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: Any) -> None:  # noqa: PYI036
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._resources.__exit__(kind, *details)

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
