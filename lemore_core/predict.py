"""Write the labels, overlays and videos of images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError
from lemore_core.images.files import write_image
from lemore_core.images.image import to_rgb
from lemore_core.images.palettes import write_labels
from lemore_core.images.render import legend, overlay
from lemore_core.segmenter import Segmenter
from lemore_core.sources import Frame, Source

OUT_OF_ORDER = 'not in the video: the stamp is not after the one before'


class PredictError(LemoreError):
    """Inputs whose results would have one name, or without a single image."""


def check_names(sources: Sequence[Source]) -> None:
    """Refuse sources that would write results of one name.

    Raises:
        PredictError: with the name.
    """
    for name, count in Counter(name for one in sources for name in one.results).items():
        if count > 1:
            msg = f'{count} inputs are called {name!r}: predict them one at a time'
            raise PredictError(msg)


def predict(
    segmenter: Segmenter | None,
    source: Source,
    output: Path,
    *,
    alpha: float,
    frames: int | None = None,
    rotation: int = 0,
    has_legend: bool = False,
) -> Iterator[Frame]:
    """Segment a source, write the results, and yield each image.

    Labels are class ids, with the classes' colours as palette: ``labels/NAME.png`` of an image
    file, ``labels/SOURCE/000000.png`` of a video, camera or bag. The overlay is
    ``overlay/NAME.png`` or the video ``overlay/SOURCE.mp4``; that of a bag has the camera's image
    on the left. Labels that were recorded with a source are taken instead of the segmenter's.
    ``alpha`` (0..1) is the weight of the colours, ``frames`` the most images to take, ``rotation``
    that of :class:`~lemore_core.images.image.Image`; ``has_legend`` adds the classes' names.

    Raises:
        LemoreError: the source cannot be read, or has no image.
        OSError: the output cannot be written.
    """
    drawn = _draw(segmenter, source, output / 'labels', alpha, frames, rotation, has_legend)
    if source.is_moving:
        yield from _write_video(output / 'overlay' / f'{source.name}.mp4', drawn, source.errors)
        return
    for frame, shown in drawn:
        write_image(output / 'overlay' / f'{frame.name}.png', shown)
        yield frame


def _draw(
    segmenter: Segmenter | None,
    source: Source,
    folder: Path,
    alpha: float,
    frames: int | None,
    rotation: int,
    has_legend: bool,
) -> Iterator[tuple[Frame, NDArray[np.uint8]]]:
    """Write the labels into ``folder``, and yield each image and its overlay, RGB uint8."""
    taxonomy = source.taxonomy
    if taxonomy is None and segmenter is not None:
        taxonomy = segmenter.taxonomy
    if taxonomy is None:
        msg = f'{source.name} has no labels: give a segmenter'
        raise PredictError(msg)
    if source.is_moving:
        folder /= source.name
    is_empty = True
    for frame in islice(source.frames(), frames):
        is_empty = False
        pixels, encoding = frame.image.pixels, frame.image.encoding
        labels, shown = frame.labels, to_rgb(pixels, encoding)
        if source.taxonomy is None and segmenter is not None:
            labels = segmenter.segment_batch([frame.image._replace(rotation=rotation)])[0].labels
        panes = [shown] if source.is_recording else []
        if labels is not None:
            write_labels(folder / f'{frame.name}.png', labels, taxonomy)
            shown = overlay(pixels, encoding, labels, taxonomy.palette, alpha)
        shown = np.hstack([*panes, shown])
        yield frame, np.vstack([shown, legend(taxonomy, shown.shape[1])]) if has_legend else shown
    if is_empty:
        msg = '; '.join([f'{source.name} gave no images', *source.errors])
        raise PredictError(msg)


def _write_video(
    path: Path, drawn: Iterator[tuple[Frame, NDArray[np.uint8]]], errors: Counter[str]
) -> Iterator[Frame]:
    """Write a video at the images' stamps and at the size of the first one."""
    from lemore_core.images.video import CLOCK, VideoWriter

    size: tuple[int, ...] = ()
    last = -math.inf
    with VideoWriter(path) as video:
        for frame, shown in drawn:
            stamp_ns = frame.stamp_ns or 0
            if (tick := stamp_ns * CLOCK // 10**9) > last:
                last, size = tick, size or shown.shape[1::-1]
                fits = shown.shape[1::-1] == size
                video.write(stamp_ns, shown if fits else np.asarray(cv2.resize(shown, size)))
            else:
                errors[OUT_OF_ORDER] += 1
            yield frame
