"""A sequence as a video, every frame at its own time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.validation import check_fields, option
from lemore_core.images.render import FONT, colorize, legend, overlay
from lemore_core.images.video import CLOCK, VideoWriter
from lemore_core.taxonomy import Taxonomy
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.evaluation.image_sequence import ImageSequence, StampedImage
from lemore_ros.bags.evaluation.label_sources import FrameLabels, LabelSource

OVERLAY, SIDE_BY_SIDE = 'overlay', 'side-by-side'
SMALLEST = 16
# later than this, a stamp is a date and not a time since the robot was switched on
YEAR_2000_NS = 946_684_800 * 10**9
Rgb = NDArray[np.uint8]
SUFFIXES = ('.mp4', '.mov', '.mkv')
OUT_OF_ORDER = 'left out, stamps not after the one before'
SCALED = 'of another size than the first, scaled and padded'
UNLABELLED = 'shown without labels'


@dataclass(frozen=True)
class VideoStyle:
    """How the frames of a video look; ``alpha`` 0..1 is the weight of the colours in an overlay.

    Frames wider than ``max_width`` pixels are shrunk.

    Raises:
        BagError: a value that is not allowed.
    """

    layout: str = option(OVERLAY, choices=(OVERLAY, SIDE_BY_SIDE))
    alpha: float = option(0.5, low=0.0, high=1.0)
    has_legend: bool = True
    has_stamps: bool = True
    max_width: int = option(1920, low=SMALLEST)

    def __post_init__(self) -> None:
        check_fields(self, BagError)


class Canvas:
    """Draws the frames of one video, all at the size of the first.

    An image of another shape keeps its own: it is scaled to fit, with black at its sides.
    """

    def __init__(self, style: VideoStyle, taxonomy: Taxonomy) -> None:
        self._style = style
        self._taxonomy = taxonomy
        self._size: tuple[int, int] | None = None
        self._legend: Rgb | None = None

    def draw(self, image: StampedImage, frame_labels: FrameLabels | None, seconds: float) -> Rgb:
        """Return a frame of the video, RGB (H, W, 3) uint8; without labels the bare image."""
        scene = self._scene(image, frame_labels)
        if self._size is None:
            self._size = _shrunk(scene.shape[:2], self._style.max_width)
        frame = _fitted(scene, self._size)
        if self._style.has_stamps:
            _write(frame, _stamp_text(seconds, image.time_ns))
        if not self._style.has_legend:
            return frame
        if self._legend is None:
            self._legend = legend(self._taxonomy, self._size[1])
        return np.vstack([frame, self._legend])

    def _scene(self, image: StampedImage, frame_labels: FrameLabels | None) -> Rgb:
        palette = self._taxonomy.palette
        if self._style.layout == SIDE_BY_SIDE:
            rgb = image.rgb
            right = (
                np.zeros_like(rgb)
                if frame_labels is None
                else colorize(frame_labels.labels, palette)
            )
            return np.hstack([rgb, right])
        if frame_labels is None:
            return image.rgb.copy()
        camera = image.image
        return overlay(
            camera.pixels, camera.encoding, frame_labels.labels, palette, self._style.alpha
        )


def _shrunk(size: tuple[int, int], max_width: int) -> tuple[int, int]:
    """Return (height, width), even as H.264 needs them, of the frames of a video."""
    height, width = size
    scale = min(1.0, max_width / width)
    even = [max(SMALLEST, round(side * scale / 2) * 2) for side in (height, width)]
    return even[0], even[1]


def _fitted(scene: Rgb, size: tuple[int, int]) -> Rgb:
    """Return a scene at ``size`` (height, width), its shape kept, black beside it."""
    height, width = size
    scale = min(height / scene.shape[0], width / scene.shape[1])
    inner = [max(1, round(side * scale)) for side in scene.shape[:2]]
    # a pixel for rounding to even sides is no change of shape
    inner = [full if abs(full - one) <= 1 else one for full, one in zip(size, inner, strict=True)]
    if tuple(inner) == scene.shape[:2]:
        small = scene
    else:
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = np.asarray(cv2.resize(scene, (inner[1], inner[0]), interpolation=method), np.uint8)
    if tuple(inner) == size:
        return np.ascontiguousarray(small)
    frame = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    frame[top : top + inner[0], left : left + inner[1]] = small
    return frame


def _stamp_text(seconds: float, time_ns: int) -> str:
    text = f'{seconds:8.3f} s   {time_ns // 10**9}.{time_ns % 10**9:09d}'
    if time_ns < YEAR_2000_NS:
        return text
    date = datetime.fromtimestamp(time_ns // 10**9, timezone.utc)
    return f'{text}   {date:%Y-%m-%d %H:%M:%S} UTC'


def _write(frame: Rgb, text: str) -> None:
    """Write into the lower left corner, white on black, no wider than the frame."""
    height, width = frame.shape[:2]
    scale = 0.5
    (across, up), down = cv2.getTextSize(text, FONT, scale, 1)
    if across + 16 > width:
        scale *= max(0.1, (width - 16) / across)
        (across, up), down = cv2.getTextSize(text, FONT, scale, 1)
    top = max(0, height - up - down - 12)
    frame[top:, : across + 16] //= 4
    cv2.putText(frame, text, (8, height - down - 6), FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)


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
    error_counts: Counter[str] = Counter()
    # the times of the frames that are written must grow by a tick of the video's clock
    first: StampedImage | None = None
    last_tick, seconds = -1, 0.0
    try:
        with VideoWriter(output) as video:
            for image, next_ns in images.images():
                frame_labels = source.labels_of(image, next_ns)
                if on_frame is not None:
                    on_frame(image)
                first = first or image
                since_ns = image.time_ns - first.time_ns
                if since_ns * CLOCK // 10**9 <= last_tick:
                    error_counts[OUT_OF_ORDER] += 1
                    continue
                last_tick, seconds = since_ns * CLOCK // 10**9, since_ns / 1e9
                error_counts[UNLABELLED] += frame_labels is None
                error_counts[SCALED] += image.size != first.size
                video.write(image.time_ns, canvas.draw(image, frame_labels, seconds))
    except OSError as error:
        msg = f'the video {output} cannot be written: {error.strerror or error}'
        raise BagError(msg) from error
    return VideoSummary(
        video.count, seconds, error_counts + images.error_counts + source.error_counts
    )
