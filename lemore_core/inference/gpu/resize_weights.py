"""Which source pixels make each pixel of a resized image, as OpenCV weighs them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

# OpenCV's bilinear weights are integers of so many bits
WEIGHT_BITS = 11
# and its averages leave out a source pixel of which they cover no more than this
LEAST_COVER = 1e-3


class Method(Enum):
    """How the taps are summed and rounded."""

    AVERAGE = 'average'
    BILINEAR = 'bilinear'


@dataclass(frozen=True)
class Axis:
    """The taps of one axis: ``index`` (taps, target) int32 and ``weight`` of the same shape.

    Weights are float32 for averages and int32, in units of 2 ** -11, for bilinear ones. Taps that
    a pixel does not need have weight zero and an index within the source.
    """

    index: NDArray[np.int32]
    weight: NDArray[np.float32] | NDArray[np.int32]


@dataclass(frozen=True)
class Taps:
    """What resizes an image: rows, columns, and a factor for the weighted sum of an average.

    ``half_up`` says that an average of exactly one half rounds up, not to the even number.
    """

    method: Method
    rows: Axis
    columns: Axis
    factor: float = 1.0
    half_up: bool = False


def find_taps(source: tuple[int, int], target: tuple[int, int]) -> Taps:
    """Return what :func:`~lemore_core.image.to_network` does between two sizes.

    The sizes are (height, width). An image that is smaller on both axes afterwards is averaged
    over areas, any other is interpolated.
    """
    (height, width), (rows, columns) = source, target
    if source == target:
        return Taps(Method.AVERAGE, _whole(rows, 1), _whole(columns, 1))
    if not (height > rows and width > columns):
        return Taps(
            Method.BILINEAR,
            _between(height, rows, past_the_edge=True),
            _between(width, columns, past_the_edge=False),
        )
    if height % rows == 0 and width % columns == 0:
        # whole numbers are summed and divided once, so that rounding errors decide no tie
        down, across = height // rows, width // columns
        return Taps(
            Method.AVERAGE,
            _whole(rows, down),
            _whole(columns, across),
            factor=1 / (down * across),
            half_up=down == across == 2,
        )
    return Taps(Method.AVERAGE, _cover(height, rows), _cover(width, columns))


def _whole(target: int, taps: int) -> Axis:
    """Return areas of a whole number of pixels, each with weight one."""
    index = np.arange(target) * taps + np.arange(taps)[:, None]
    return Axis(index.astype(np.int32), np.ones(index.shape, np.float32))


def _cover(source: int, target: int) -> Axis:
    """Return areas of any size: a pixel weighs the share of the area that it covers."""
    scale = source / target
    start = np.arange(target) * scale
    end = np.minimum(start + scale, source)
    taps = int(np.ceil(scale)) + 1
    index = np.floor(start).astype(np.int64) + np.arange(taps)[:, None]
    covered = np.minimum(end, index + 1) - np.maximum(start, index)
    weight = np.where(covered > LEAST_COVER, covered, 0) / (end - start)
    return Axis(np.minimum(index, source - 1).astype(np.int32), weight.astype(np.float32))


def _between(source: int, target: int, *, past_the_edge: bool) -> Axis:
    """Return the two pixels around each target pixel.

    OpenCV gives the outermost column all the weight where there is none beyond it, but sums the
    outermost row with itself, which its integers round in another way.
    """
    place = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    left = np.floor(place).astype(np.int64)
    share = place - left.astype(np.float32)
    if not past_the_edge:
        share[(left < 0) | (left >= source - 1)] = 0
        left = np.maximum(left, 0)
    index = np.clip([left, left + 1], 0, source - 1).astype(np.int32)
    weight = np.rint(np.stack([1 - share, share]) * 2**WEIGHT_BITS).astype(np.int32)
    return Axis(index, weight)
