"""Video files: H.264, which browsers play, each image at its own time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
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
    """Return how many images a video file says it holds; 0 where it does not say.

    Raises:
        VideoError: the file is no readable video.
    """
    with _opened(path) as container:
        return int(container.streams.video[0].frames)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        # PyAV takes no names that are not UTF-8
        file = path.open('rb')
    except OSError as error:
        msg = f'{path} cannot be read: {error.strerror}'
        raise VideoError(msg) from error
    with file:
        try:
            container = av.open(file)
        except (OSError, ValueError) as error:
            msg = f'{path} is no readable video: {error}'
            raise VideoError(msg) from error
        with container:
            yield _with_images(path, container)


def _with_images(path: Path, container: Any) -> Any:
    if not container.streams.video:
        msg = f'{path} holds no video stream'
        raise VideoError(msg)
    return container


class VideoWriter:
    """Writes images of one size into a video file, which appears when the block ends well."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._path = path
        self._resources = ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._first = 0
        self._size: tuple[int, int] | None = None

    def __enter__(self) -> VideoWriter:  # noqa: PYI034 - Self needs Python 3.11
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_write(self._path))
            self._container = stack.enter_context(av.open(str(temporary), 'w'))
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None and self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._resources.__exit__(kind, error, traceback)

    def write(self, time: int, pixels: NDArray[np.uint8]) -> None:
        """Add an RGB image (H, W, 3) uint8 at ``time`` nanoseconds; the first one starts it."""
        # H.264 with halved colours needs even sides
        even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
        if min(even.shape[:2]) == 0 or (self._size or even.shape[:2]) != even.shape[:2]:
            msg = f'an image of {even.shape[1]}x{even.shape[0]} does not fit into {self._path}'
            raise VideoError(msg)
        if self._stream is None:
            self._size = (even.shape[0], even.shape[1])
            self._start(even.shape[0], even.shape[1], time)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format='rgb24')
        frame.time_base = Fraction(1, CLOCK)
        frame.pts = (time - self._first) * CLOCK // 10**9
        self._container.mux(self._stream.encode(frame))
        self.count += 1

    def _start(self, height: int, width: int, time: int) -> None:
        self._first = time
        self._stream = self._container.add_stream('libx264', rate=25)
        self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, CLOCK)
        self._stream.pix_fmt = 'yuv420p'
        self._stream.options = OPTIONS
        self._stream.height, self._stream.width = height, width
