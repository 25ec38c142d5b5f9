"""A sequence as a video, every frame at its own time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lemore_core.video import CLOCK, VideoWriter
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.evaluation.canvas import Canvas, VideoStyle
from lemore_ros.bags.evaluation.image_sequence import ImageSequence, StampedImage
from lemore_ros.bags.evaluation.label_sources import LabelSource
from lemore_ros.bags.evaluation.matching import with_next

SUFFIXES = ('.mp4', '.mov', '.mkv')
OUT_OF_ORDER = 'left out, stamps not after the one before'
SCALED = 'of another size than the first, scaled and padded'
UNLABELLED = 'shown without labels'


@dataclass(frozen=True)
class VideoSummary:
    """What became of a sequence: ``error_counts`` counts what was left out or changed, by what it was."""

    frames: int
    seconds: float
    error_counts: Counter[str]

    @property
    def rate_hz(self) -> float:
        """Frames a second on average; NaN for a single frame."""
        return (self.frames - 1) / self.seconds if self.seconds else math.nan


def write_video(
    images: ImageSequence,
    source: LabelSource,
    output: Path,
    style: VideoStyle,
    on_frame: Callable[[StampedImage], None] | None = None,
) -> VideoSummary:
    """Write the sequence as H.264, every frame at its own stamp; ``on_frame`` is called with each image.

    The file appears under its name when it is whole. A pause in the sequence is one in the video.

    Raises:
        LemoreError: the sequence has no images, the model failed, or the file cannot be written.

    """
    if output.suffix.lower() not in SUFFIXES:
        msg = f'the video {output} must be called {", ".join(f"*{suffix}" for suffix in SUFFIXES)}'
        raise BagError(msg)
    canvas = Canvas(style, source.taxonomy)
    clock = _Clock()
    error_counts: Counter[str] = Counter()
    try:
        with VideoWriter(output) as video:
            for image, following in with_next(images.images()):
                next_ns = None if following is None else following.time_ns
                frame_labels = source.labels_of(image, next_ns)
                if on_frame is not None:
                    on_frame(image)
                if not clock.advance(image.time_ns):
                    error_counts[OUT_OF_ORDER] += 1
                    continue
                error_counts[UNLABELLED] += frame_labels is None
                error_counts[SCALED] += clock.first_size not in (None, image.size)
                clock.first_size = clock.first_size or image.size
                video.write(image.time_ns, canvas.draw(image, frame_labels, clock.seconds))
    except OSError as error:
        msg = f'the video {output} cannot be written: {error.strerror or error}'
        raise BagError(msg) from error
    return VideoSummary(
        video.count, clock.seconds, +(error_counts + images.error_counts + source.error_counts)
    )


class _Clock:
    """The times of the frames that are written, which must grow by a tick of the video's clock."""

    def __init__(self) -> None:
        self.first_size: tuple[int, int] | None = None
        self._first_ns: int | None = None
        self._ticks = -1
        self._last_ns = 0

    @property
    def seconds(self) -> float:
        """From the first frame to the last one so far."""
        return (self._last_ns - (self._first_ns or 0)) / 1e9

    def advance(self, time_ns: int) -> bool:
        """Go on to a time, and say whether it is after the last one."""
        if self._first_ns is None:
            self._first_ns = time_ns
        ticks = (time_ns - self._first_ns) * CLOCK // 10**9
        if ticks <= self._ticks:
            return False
        self._ticks, self._last_ns = ticks, time_ns
        return True
