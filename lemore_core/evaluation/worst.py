"""Draw images with their labels and errors for a report, and keep the worst of many."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.images.render import colorize
from lemore_core.taxonomy import Labels, Taxonomy

GROUND_TRUTH = 'ground truth'
WIDTH = 640
RED = (255, 40, 80, 255)
DARK = (0, 0, 0, 200)
PHOTO_QUALITY = 80
LOSSLESS = 101  # OpenCV: a WebP quality above 100

Color = tuple[int, int, int, int]
T = TypeVar('T')


class Pane(NamedTuple):
    """Photograph (grey if ``dimmed``) under at most two layers, data URIs by title."""

    caption: str
    layers: Mapping[str, str] = {}
    dimmed: bool = False


class ReportImage(NamedTuple):
    """A photograph (data URI), its figures and its panes."""

    name: str
    photo: str
    panes: Sequence[Pane]
    figures: Mapping[str, str]


def report_image(
    name: str, rgb: NDArray[np.uint8], panes: Sequence[Pane], figures: Mapping[str, str]
) -> ReportImage:
    """Return an image (H, W, 3) uint8, bare and in ``panes``."""
    small = shrink(rgb, WIDTH, cv2.INTER_AREA)
    photo = image_uri(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), PHOTO_QUALITY)
    return ReportImage(name, photo, (Pane('image'), *panes), figures)


def labels_pane(taxonomy: Taxonomy, shown: Mapping[str, Labels]) -> Pane:
    """Return one or two label images (H, W) over the image; unlabelled pixels are clear."""
    layers = {}
    for name, labels in shown.items():
        alpha = np.where(labels < len(taxonomy.classes), 255, 0).astype(np.uint8)
        layers[name] = _layer(np.dstack([colorize(labels, taxonomy.palette), alpha]))
    return Pane(' and '.join(shown), layers)


def marks_pane(caption: str, *marks: tuple[NDArray[np.bool_], Color]) -> Pane:
    """Return marked pixels (H, W) in RGBA over the greyed image; later marks cover earlier ones."""
    rgba = np.zeros((*marks[0][0].shape, 4), np.uint8)
    for pixels, color in marks:
        rgba[pixels] = color
    return Pane(caption, {caption: _layer(rgba)}, dimmed=True)


def error_panes(
    taxonomy: Taxonomy, labels: Labels, truth: Labels, name: str = GROUND_TRUTH
) -> tuple[Pane, Pane]:
    """Return labels (H, W) against ground truth under a slider, and their errors in red."""
    marks = (labels != truth, RED), (truth >= len(taxonomy.classes), DARK)
    return (
        labels_pane(taxonomy, {'labels': labels, name: truth}),
        marks_pane('errors red, unlabelled dark', *marks),
    )


def shrink(image: NDArray[Any], width: int, interpolation: int) -> NDArray[Any]:
    """Resize an image to ``width`` if it is wider."""
    if image.shape[1] <= width:
        return image
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return cv2.resize(image, (width, height), interpolation=interpolation)


def _layer(rgba: NDArray[Any]) -> str:
    small = shrink(rgba, WIDTH, cv2.INTER_NEAREST)
    return image_uri(cv2.cvtColor(small, cv2.COLOR_RGBA2BGRA), LOSSLESS)


def image_uri(pixels: cv2.typing.MatLike, quality: int) -> str:
    """Return pixels (BGR or BGRA uint8) as a data URI of WebP."""
    _, content = cv2.imencode('.webp', pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])
    return 'data:image/webp;base64,' + base64.b64encode(content.tobytes()).decode('ascii')


class _Kept(NamedTuple):
    value: float
    place: float
    image: ReportImage


class WorstImages(Generic[T]):
    """Observes images and keeps the ``limit`` worst drawn for each of several reasons.

    ``badness`` gives a number by reason, lower is worse, NaN is left out. Of images whose places
    (seconds in a drive) are less than ``apart`` from each other the worst one is kept.
    """

    def __init__(
        self,
        limit: int,
        badness: Callable[[T], Mapping[str, float]],
        draw: Callable[[T], ReportImage],
        *,
        place: Callable[[T], float] = lambda _: 0.0,
        apart: float = 0.0,
    ) -> None:
        self._limit, self._badness, self._draw = limit, badness, draw
        self._place, self._apart = place, apart
        self._kept: dict[str, list[_Kept]] = {}

    def __call__(self, item: T) -> None:
        """Keep the image for each reason for which it is among the worst so far."""
        place, image = self._place(item), None
        for reason, value in self._badness(item).items():
            kept = self._kept.setdefault(reason, [])
            near = [one for one in kept if abs(one.place - place) < self._apart]
            others = [one for one in kept if one not in near]
            # a neighbour that is worse wins, and so does a full list of worse ones
            rivals = [*near, *others[self._limit - 1 :]]
            if math.isnan(value) or not self._limit or any(one.value <= value for one in rivals):
                continue
            image = image or self._draw(item)
            others.append(_Kept(value, place, image))
            self._kept[reason] = sorted(others, key=lambda one: one.value)[: self._limit]

    @property
    def images(self) -> list[ReportImage]:
        """The images, each once with its reasons, those of the first reason first."""
        if len(self._kept) < 2:
            return [one.image for kept in self._kept.values() for one in kept]
        found: dict[int, tuple[ReportImage, list[str]]] = {}
        for reason, kept in self._kept.items():
            for one in kept:
                found.setdefault(id(one.image), (one.image, []))[1].append(reason)
        return [
            image._replace(figures={'chosen for': ', '.join(reasons), **image.figures})
            for image, reasons in found.values()
        ]
