"""The views of a labelled image: its colours, and what is marked in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lemore_core.evaluation.report.content import Layer, Pane
from lemore_core.evaluation.report.encode import layer_uri
from lemore_core.render import Labels, colorize
from lemore_core.taxonomy import Taxonomy

IMAGE_WIDTH = 640
WRONG = (255, 40, 80, 255)
UNLABELLED = (0, 0, 0, 200)


class Named(NamedTuple):
    """Labels (H, W) and what they are called under the image.

    What is no class is black, or see-through where ``has_gaps``.
    """

    name: str
    labels: Labels
    has_gaps: bool = False


class Marked(NamedTuple):
    """Pixels (H, W) bool that are marked in a colour, RGBA."""

    pixels: NDArray[np.bool_]
    color: tuple[int, int, int, int]


def labels_pane(shown: tuple[Named, ...], taxonomy: Taxonomy, size: tuple[int, int]) -> Pane:
    """Return a view of one or two label images over the image, at ``size`` (height, width)."""
    layers = tuple(Layer(one.name, layer_uri(_colors(one, taxonomy), size)) for one in shown)
    return Pane(' and '.join(one.name for one in shown), layers)


def marks_pane(caption: str, marks: tuple[Marked, ...], size: tuple[int, int]) -> Pane:
    """Return a view of marked pixels over the greyed image; later marks cover earlier ones."""
    rgba = np.zeros((*marks[0].pixels.shape, 4), np.uint8)
    for pixels, color in marks:
        rgba[pixels] = color
    return Pane(caption, (Layer(caption, layer_uri(rgba, size)),), dimmed=True)


def class_scores(values: NDArray[np.float64]) -> dict[int, float]:
    """Return what an image can be filtered by: the values (classes,) that are not NaN."""
    return {i: round(float(v), 4) for i, v in enumerate(values) if not np.isnan(v)}


def _colors(named: Named, taxonomy: Taxonomy) -> NDArray[np.uint8]:
    """Return the colours of labels as RGBA."""
    clear = (named.labels >= len(taxonomy.classes)) & named.has_gaps
    alpha = np.where(clear, 0, 255).astype(np.uint8)
    return np.dstack([colorize(named.labels, taxonomy.palette), alpha])
