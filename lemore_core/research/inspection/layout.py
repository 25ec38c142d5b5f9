"""Panels with captions, in rows, on a white sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.render import FONT

Pixels = NDArray[np.uint8]

PANEL = 360
GAP = 12
TEXT = 0.5
TITLE = 0.8
BAR = (200, 14)
WHITE = 255
INK = (20, 20, 20)


@dataclass(frozen=True)
class Panel:
    """An image (H, W, 3) uint8 RGB and the line that stands over it."""

    image: Pixels
    caption: str


@dataclass(frozen=True)
class Row:
    """Panels side by side under a heading; an empty heading takes no room."""

    heading: str
    panels: Sequence[Panel]


def compose(title: str, strips: Sequence[Pixels], rows: Sequence[Row]) -> Pixels:
    """Return a sheet, RGB (H, W, 3) uint8: the title, the strips below it, then the rows.

    The sheet is as large as what stands on it, so nothing is cut off.
    """
    parts = [text_line(title, TITLE), *strips]
    for row in rows:
        if row.heading:
            parts.append(text_line(row.heading, 0.6))
        parts.append(_beside([_captioned(panel) for panel in row.panels]))
    return _bordered(_below(parts))


def fit(image: Pixels, side: int = PANEL, *, cells: bool = False) -> Pixels:
    """Return ``image`` resized so that its longer side is ``side`` pixels, its aspect kept.

    ``cells`` keeps the pixels of a small image squares, for a matrix.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    enlarging = cv2.INTER_NEAREST if cells else cv2.INTER_LINEAR
    interpolation = cv2.INTER_AREA if scale < 1 else enlarging
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)


def text_line(text: str, scale: float = TEXT) -> Pixels:
    """Return a line of text (ASCII), dark on white, RGB (h, w, 3) uint8."""
    (width, height), below = cv2.getTextSize(text, FONT, scale, 1)
    # lines of one size are of one height, whatever their letters
    height, below = max(height, round(22 * scale)), max(below, round(10 * scale))
    line = np.full((height + below + 8, width + 4, 3), WHITE, np.uint8)
    cv2.putText(line, text, (2, height + 4), FONT, scale, INK, 1, cv2.LINE_AA)
    return line


def scale_bar(colors: Pixels, low: str, high: str) -> Pixels:
    """Return a strip that explains a colour map: ``colors`` (1, n, 3) between two texts."""
    bar = np.asarray(cv2.resize(colors, BAR, interpolation=cv2.INTER_LINEAR), np.uint8)
    return _beside([text_line(low), _padded_above(bar, 5), text_line(high)])


def _captioned(panel: Panel) -> Pixels:
    return _below([text_line(panel.caption), panel.image], gap=0)


def _below(parts: Sequence[Pixels], gap: int = 4) -> Pixels:
    width = max(part.shape[1] for part in parts)
    return np.concatenate(
        [_canvas(part, part.shape[0] + gap, width) for part in parts], axis=0, dtype=np.uint8
    )


def _beside(parts: Sequence[Pixels]) -> Pixels:
    height = max(part.shape[0] for part in parts)
    return np.concatenate(
        [_canvas(part, height, part.shape[1] + GAP) for part in parts], axis=1, dtype=np.uint8
    )


def _canvas(image: Pixels, height: int, width: int) -> Pixels:
    canvas = np.full((height, width, 3), WHITE, np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


def _padded_above(image: Pixels, rows: int) -> Pixels:
    return np.pad(image, ((rows, 0), (0, 0), (0, 0)), constant_values=WHITE)


def _bordered(image: Pixels) -> Pixels:
    return np.pad(image, ((GAP, GAP), (GAP, 0), (0, 0)), constant_values=WHITE)
