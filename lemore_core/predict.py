"""Segments images, folders, videos and cameras: labels, overlays and videos."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError
from lemore_core.common.limits import MAX_PIXELS
from lemore_core.images.files import SUFFIXES, image_files, read_image, write_image
from lemore_core.images.image import Image
from lemore_core.images.palettes import write_labels
from lemore_core.images.render import legend, overlay
from lemore_core.segmenter import Segmenter

MOST_DIGITS = 4  # of a camera's number


class PredictError(LemoreError):
    """An input that is no image, folder, video or camera, or that clashes with another."""


@dataclass(frozen=True)
class Source:
    """One input: an image, or something that moves. ``name`` is what its results are called."""

    name: str
    path: Path | None
    camera: int | None = None
    max_pixels: int = MAX_PIXELS

    @property
    def is_image(self) -> bool:
        """Whether this is a single image."""
        return self.path is not None and self.path.suffix.lower() in SUFFIXES

    def expected(self) -> int | None:
        """Return how many images will come, None where that is not known.

        Raises:
            VideoError: the file is no readable video.
        """
        if self.is_image:
            return 1
        if self.path is None:
            return None
        from lemore_core.images.video import frames_expected

        return frames_expected(self.path) or None

    def frames(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield (time in nanoseconds, RGB (H, W, 3) uint8).

        Raises:
            LemoreError: the image, video or camera cannot be read.
        """
        if self.path is None:
            yield from _camera_frames(self.camera or 0)
        elif self.is_image:
            yield 0, read_image(self.path, max_pixels=self.max_pixels)
        else:
            from lemore_core.images.video import read_video

            yield from read_video(self.path, self.max_pixels)


def find_sources(inputs: Sequence[str], max_pixels: int = MAX_PIXELS) -> list[Source]:
    """Return what the inputs name: files, the images in and below folders, or cameras by number.

    An image of a folder is called by its path in it.

    Raises:
        PredictError: an input does not exist, a folder holds no images, or two inputs would
            write results of one name.
    """
    sources: list[Source] = []
    for text in inputs:
        path = Path(text)
        if text.isdecimal() and len(text) <= MOST_DIGITS and not path.exists():
            sources.append(Source(f'camera{text}', None, int(text)))
        elif path.is_dir():
            sources += _of_folder(path, max_pixels)
        elif path.is_file():
            sources.append(Source(path.stem, path, max_pixels=max_pixels))
        else:
            msg = f'there is no file or folder {text}, and it is no number of a camera'
            raise PredictError(msg)
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            msg = f'{names.count(name)} inputs are called {name!r}: predict them one at a time'
            raise PredictError(msg)
    return sources


def predict(
    segmenter: Segmenter,
    source: Source,
    output: Path,
    *,
    alpha: float,
    frames: int | None = None,
    rotation: int = 0,
    has_legend: bool = False,
) -> Iterator[int]:
    """Segment a source and yield after each image how many are done.

    An image becomes ``labels/NAME.png`` (class ids, with the classes' colours as palette) and ``overlay/NAME.png``; a video or camera
    becomes ``labels/NAME/000000.png`` and so on, and ``overlay/NAME.mp4``. ``frames`` ends it
    early, which is how a camera ends. ``rotation`` is that of :class:`~lemore_core.images.image.Image`;
    ``has_legend`` puts the names of the classes below the overlay.

    Raises:
        LemoreError: the source cannot be read.
        OSError: the output cannot be written.
    """
    if source.is_image:
        for _, pixels in source.frames():
            labels, image = _segment(segmenter, Image(pixels, rotation=rotation), alpha, has_legend)
            write_labels(output / 'labels' / f'{source.name}.png', labels, segmenter.taxonomy)
            write_image(output / 'overlay' / f'{source.name}.png', image)
            yield 1
        return
    from lemore_core.images.video import VideoWriter

    with VideoWriter(output / 'overlay' / f'{source.name}.mp4') as video:
        for index, (stamp, pixels) in enumerate(source.frames()):
            if index == frames:
                break
            labels, image = _segment(segmenter, Image(pixels, rotation=rotation), alpha, has_legend)
            path = output / 'labels' / source.name / f'{index:06}.png'
            write_labels(path, labels, segmenter.taxonomy)
            video.write(stamp, image)
            yield video.count
        if not video.count:
            msg = f'{source.name} gave no images'
            raise PredictError(msg)


def _segment(
    segmenter: Segmenter, image: Image, alpha: float, has_legend: bool
) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], NDArray[np.uint8]]:
    labels = segmenter.segment_batch([image])[0].labels
    taxonomy = segmenter.taxonomy
    shown = overlay(image.pixels, image.encoding, labels, taxonomy.palette, alpha)
    return labels, np.vstack([shown, legend(taxonomy, shown.shape[1])]) if has_legend else shown


def _of_folder(folder: Path, max_pixels: int) -> list[Source]:
    paths = image_files(folder)
    if not paths:
        msg = f'folder {folder} holds no images ({", ".join(SUFFIXES)})'
        raise PredictError(msg)
    names = [path.relative_to(folder).with_suffix('').as_posix() for path in paths]
    return [
        Source(name, path, max_pixels=max_pixels) for name, path in zip(names, paths, strict=True)
    ]


def _camera_frames(index: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    capture = cv2.VideoCapture(index)
    try:
        while True:
            found, image = capture.read()
            if not found:
                msg = f'camera {index} gives no images'
                raise PredictError(msg)
            yield time.monotonic_ns(), np.ascontiguousarray(image[..., ::-1], np.uint8)
    finally:
        capture.release()
