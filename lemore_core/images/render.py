"""Draw labels: colours, overlay, legend."""

from __future__ import annotations

import cv2
import numpy as np

from lemore_core.images.image import Pixels, to_rgb
from lemore_core.taxonomy import Labels, Taxonomy

SWATCH = 18
ROW = 26
FONT = cv2.FONT_HERSHEY_SIMPLEX


def colorize(labels: Labels, palette: Pixels) -> Pixels:
    """Return ``labels`` (H, W) in the colours of a :attr:`Taxonomy.palette`, RGB (H, W, 3) uint8."""
    if labels.dtype == np.uint8:
        return np.asarray(cv2.applyColorMap(labels, palette.reshape(256, 1, 3)), np.uint8)
    # one 32-bit look-up a pixel is several times faster than three bytes
    padded = np.zeros((len(palette), 4), np.uint8)
    padded[:, :3] = palette
    words = np.take(padded.view(np.uint32)[:, 0], labels)
    rgba = words.view(np.uint8).reshape(*labels.shape, 4)
    return np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), np.uint8)


def overlay(image: Pixels, encoding: str, labels: Labels, palette: Pixels, alpha: float) -> Pixels:
    """Return the image with its labels' colours blended in by ``alpha`` (0..1), RGB uint8."""
    return blend(image, encoding, colorize(labels, palette), alpha)


def blend(image: Pixels, encoding: str, colors: Pixels, alpha: float) -> Pixels:
    """Return the image with ``colors`` (H, W, 3), RGB, blended in by ``alpha`` (0..1), RGB uint8."""
    rgb = to_rgb(image, encoding)
    return np.asarray(cv2.addWeighted(rgb, 1.0 - alpha, colors, alpha, 0.0), np.uint8)


def legend(taxonomy: Taxonomy, width: int) -> Pixels:
    """Return the classes' names beside their colours, in columns, as RGB (H, width, 3) uint8."""
    widest = max(cv2.getTextSize(name, FONT, 0.5, 1)[0][0] for name in taxonomy.classes)
    column = 24 + SWATCH + widest
    columns = max(1, width // column)
    rows = -(-len(taxonomy.classes) // columns)
    image = np.full((rows * ROW + 8, width, 3), 255, np.uint8)
    for i, (name, color) in enumerate(zip(taxonomy.classes, taxonomy.colors, strict=True)):
        x, y = (i % columns) * column + 8, (i // columns) * ROW + 8
        cv2.rectangle(image, (x, y), (x + SWATCH, y + SWATCH), color, cv2.FILLED)
        cv2.putText(image, name, (x + SWATCH + 6, y + 14), FONT, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return image
