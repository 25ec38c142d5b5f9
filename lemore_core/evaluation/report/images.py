"""The images of a report, with the views of their labels, as data URIs: no file lies beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.evaluation.report.content import Layer, Pane, ReportImage
from lemore_core.images.render import Labels, colorize
from lemore_core.taxonomy import Taxonomy

WIDTH = 640
GROUND_TRUTH = 'ground truth'
WRONG = (255, 40, 80, 255)
UNLABELLED = (0, 0, 0, 200)
PHOTO_QUALITY = 80
LOSSLESS = 101  # OpenCV: a WebP quality above 100

Color = tuple[int, int, int, int]


def fit_width(size: tuple[int, int], width: int) -> tuple[int, int]:
    """Return (height, width) of an image of that size, shrunk to ``width`` if it is wider."""
    if size[1] <= width:
        return size
    return max(1, round(size[0] * width / size[1])), width


def report_image(
    name: str,
    rgb: NDArray[np.uint8],
    panes: Sequence[Pane],
    figures: Mapping[str, str],
    scores: NDArray[np.float64],
) -> ReportImage:
    """Return an image (H, W, 3) uint8, bare and in ``panes``; ``scores`` are (classes,), NaN for none."""
    height, width = fit_width((rgb.shape[0], rgb.shape[1]), WIDTH)
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    photo = _uri(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), PHOTO_QUALITY)
    known = {i: round(float(v), 4) for i, v in enumerate(scores) if not np.isnan(v)}
    return ReportImage(name, photo, width, height, (Pane('image'), *panes), figures, known)


def labels_pane(taxonomy: Taxonomy, shown: Mapping[str, Labels]) -> Pane:
    """Return a view of one or two label images (H, W) by their names, over the image.

    What is no class is black, and see-through in ground truth.
    """
    layers = []
    for name, labels in shown.items():
        clear = (labels >= len(taxonomy.classes)) & (name == GROUND_TRUTH)
        alpha = np.where(clear, 0, 255).astype(np.uint8)
        rgba = np.dstack([colorize(labels, taxonomy.palette), alpha])
        layers.append(Layer(name, _layer_uri(rgba)))
    return Pane(' and '.join(shown), tuple(layers))


def marks_pane(caption: str, *marks: tuple[NDArray[np.bool_], Color]) -> Pane:
    """Return a view of marked pixels (H, W) in RGBA over the greyed image; later marks cover earlier."""
    rgba = np.zeros((*marks[0][0].shape, 4), np.uint8)
    for pixels, color in marks:
        rgba[pixels] = color
    return Pane(caption, (Layer(caption, _layer_uri(rgba)),), dimmed=True)


def ground_truth_panes(
    taxonomy: Taxonomy, labels: Labels, truth: Labels, name: str = GROUND_TRUTH
) -> tuple[Pane, Pane]:
    """Return the views of labels (H, W) against ground truth: under a slider, and their errors."""
    unlabelled = truth >= len(taxonomy.classes)
    return (
        labels_pane(taxonomy, {'labels': labels, name: truth}),
        marks_pane(
            'errors red, unlabelled dark', (labels != truth, WRONG), (unlabelled, UNLABELLED)
        ),
    )


def _layer_uri(rgba: NDArray[Any]) -> str:
    height, width = fit_width((rgba.shape[0], rgba.shape[1]), WIDTH)
    small = cv2.resize(rgba, (width, height), interpolation=cv2.INTER_NEAREST)
    return _uri(cv2.cvtColor(small, cv2.COLOR_RGBA2BGRA), LOSSLESS)


def _uri(pixels: cv2.typing.MatLike, quality: int) -> str:
    done, content = cv2.imencode('.webp', pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        msg = f'OpenCV cannot write an image of shape {pixels.shape} as WebP'
        raise RuntimeError(msg)
    return 'data:image/webp;base64,' + base64.b64encode(content.tobytes()).decode('ascii')
