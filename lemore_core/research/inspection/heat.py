"""Numbers made colours: heat maps over an image, and matrices with a sign."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

HEAT_WEIGHT = 0.65

# blue for negative, near white for zero, red for positive
_ANCHORS = ((33, 70, 170), (130, 170, 220), (246, 246, 246), (230, 140, 110), (165, 20, 40))
# the step of a value half way: rounding goes to the even one of 127 and 128
_MIDDLE = 128


def viridis(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Return the colours of ``values`` (H, W) from ``low`` to ``high``, RGB (H, W, 3) uint8.

    Values beyond the two take the colours of the ends; where ``high`` is not above ``low`` all is
    the lowest colour.
    """
    steps = _steps(values, low, high)
    return np.asarray(cv2.applyColorMap(steps, cv2.COLORMAP_VIRIDIS)[..., ::-1], np.uint8)


def diverging(values: NDArray[np.float32], reach: float) -> NDArray[np.uint8]:
    """Return the colours of ``values`` (H, W) from -``reach`` to ``reach``, RGB (H, W, 3) uint8.

    Zero is near white; where ``reach`` is 0 all is.
    """
    if reach <= 0:
        return np.full((*values.shape, 3), _DIVERGING[_MIDDLE], np.uint8)
    return _DIVERGING[_steps(values, -reach, reach)]


def heat_over(
    image: NDArray[np.uint8],
    values: NDArray[np.float32],
    low: float,
    high: float,
    *,
    cells: bool = False,
) -> NDArray[np.uint8]:
    """Return ``values`` (h, w) as a heat map over the grey ``image`` (H, W, 3), RGB uint8.

    The map is brought to the image's size: bilinearly, or as ``cells`` of one colour each.
    """
    height, width = image.shape[:2]
    interpolation = cv2.INTER_NEAREST if cells else cv2.INTER_LINEAR
    spread = np.asarray(cv2.resize(values, (width, height), interpolation=interpolation))
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    colors = viridis(spread.astype(np.float32), low, high)
    return np.asarray(cv2.addWeighted(grey, 1 - HEAT_WEIGHT, colors, HEAT_WEIGHT, 0), np.uint8)


def _steps(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    steps = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)
    return np.asarray(steps, np.uint8)


def _diverging_table() -> NDArray[np.uint8]:
    positions = (0, _MIDDLE / 2, _MIDDLE, (_MIDDLE + 255) / 2, 255)
    anchors = np.array(_ANCHORS, np.float64)
    channels = [np.interp(np.arange(256), positions, anchors[:, i]) for i in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


_DIVERGING = _diverging_table()
