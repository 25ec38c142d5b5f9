"""Compiled kernel of :mod:`lemore_core.inference.cpu.decode`, which explains the algorithm."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.files import require_own_folder

_log = logging.getLogger(__name__)

# Vector loops run over multiples of this many numbers, past the end into padding: the scalar
# remainder of a loop over a cell would cost more than the loop.
LANES = 32
# A larger cell is done in tiles, whose scratch stays in the first-level cache.
TILE_ROWS = 16
TILE_COLUMNS = 16

# 2 ** f for |f| <= 1/2: Taylor coefficients ln(2) ** n / n!, relative error below 4e-6
EXP2 = tuple(np.float32(c) for c in (1.0, 0.6931472, 0.2402265, 0.0555041, 0.0096181, 0.0013334))
LOG2_E = np.float32(1.4426950)
# Added to a float32 of small magnitude, leaves it rounded to an integer in the low bits.
ROUNDER = np.float32(1.5 * 2**23)
SMALLEST_EXPONENT = np.float32(-126)
EXPONENT_SHIFT = np.int32(23)
ONE_BITS = np.int32(0x3F800000)

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
LOWEST = np.float32(-np.inf)
FULL = np.float32(255)

P = ParamSpec('P')
R = TypeVar('R')
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Ids = NDArray[np.int32]
Bytes = NDArray[np.uint8]
Labels = NDArray[np.uint8] | NDArray[np.uint16]
Four = tuple[np.float32, np.float32, np.float32, np.float32]


class Axis(NamedTuple):
    """The pixels of one axis laid over its logits.

    ``starts`` (logits + 1,) is the first pixel of each cell; ``weights`` (pixels,) is the share
    of the next logit in each pixel. The last cell has no next logit but itself.
    """

    starts: Ints
    weights: Floats


class VectorStatistics(NamedTuple):
    """Of each logit vector: the argmax, its logit, its probability; (h, padded w) each."""

    top: Ids
    peak: Floats
    scale: Floats


class Cell(NamedTuple):
    """The four vectors around a cell and their statistics: left, right, lower left, lower right."""

    corners: tuple[Floats, Floats, Floats, Floats]
    tops: tuple[np.int32, np.int32, np.int32, np.int32]
    peaks: Four
    scales: Four


class Scratch(NamedTuple):
    """A tile of a cell's pixels, row by row, padded: weights, best logit, its class, probability.

    ``found`` (classes,) has the classes that can win, ``won`` (classes,) marks those that did.
    """

    down: Floats
    right: Floats
    best: Floats
    winner: Ids
    share: Floats
    found: Ids
    won: Bytes


def _inlined(function: Callable[P, R]) -> Callable[P, R]:
    # No fastmath: fused or reordered operations round otherwise, and labels would depend on the
    # processor. Left to itself the compiler calls the larger functions: a third more time.
    compiled: Callable[P, R] = numba.njit(forceinline=True)(function)
    return compiled


def entry(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that Python calls, and cache it in a folder that only this user can write."""
    compiled: Any
    try:
        compiled = numba.njit(cache=True, nogil=True)(function)
        # what lies there is unpickled
        require_own_folder(Path(compiled.stats.cache_path), f'{Path(__file__).stem}.*')
    except (RuntimeError, OSError) as error:
        _log.info('the compiled decoder cannot be kept: %s', error)
        compiled = numba.njit(nogil=True)(function)
    return cast('Callable[P, R]', compiled)


@_inlined
def _padded(size: int) -> int:
    return (size + LANES - 1) // LANES * LANES


@_inlined
def _exp(x: np.float32) -> np.float32:
    """Return e ** x for x <= 0, NaN for NaN; in terms that the compiler can vectorise."""
    power = max(x * LOG2_E, SMALLEST_EXPONENT)
    rounded = np.float32(power + ROUNDER)
    f = power - (rounded - ROUNDER)
    c0, c1, c2, c3, c4, c5 = EXP2
    mantissa = c0 + f * (c1 + f * (c2 + f * (c3 + f * (c4 + f * c5))))
    exponent = np.int32((rounded.view(np.int32) << EXPONENT_SHIFT) + ONE_BITS)
    return np.float32(mantissa * exponent.view(np.float32))


@_inlined
def _byte(probability: np.float32) -> np.uint8:
    return np.uint8(np.int32(probability * FULL + HALF))


@_inlined
def _mix(weights: tuple[np.float32, np.float32], terms: Four) -> np.float32:
    """Interpolate between four corners, given as :func:`_terms`, at (down, right)."""
    down, right = weights
    base, dx, dy, dxy = terms
    return base + right * dx + down * (dy + right * dxy)


@_inlined
def _terms(a: np.float32, b: np.float32, c: np.float32, d: np.float32) -> Four:
    return a, b - a, c - a, (d - c) - (b - a)


@_inlined
def _transpose(vectors: Floats, planes: Floats) -> None:
    """Turn a row of vectors (w, classes) into planes (classes, padded w)."""
    w, classes = vectors.shape
    for x in range(w):
        vector = vectors[x]
        for k in range(classes):
            planes[k, x] = vector[k]


@_inlined
def _find_top(planes: Floats, top: Ids, peak: Floats) -> None:
    """Find each vector's argmax and its logit, of planes (classes, padded w)."""
    top[:] = 0
    peak[:] = LOWEST
    for k in range(planes.shape[0]):
        plane = planes[k]
        label = np.int32(k)
        for x in range(plane.size):
            better = plane[x] > peak[x]
            peak[x] = plane[x] if better else peak[x]
            top[x] = label if better else top[x]


@_inlined
def _find_scale(planes: Floats, peak: Floats, total: Floats, scale: Floats) -> None:
    """Find the probability of each vector's argmax; ``total`` is scratch."""
    total[:] = ZERO
    for k in range(planes.shape[0]):
        plane = planes[k]
        for x in range(plane.size):
            total[x] += _exp(plane[x] - peak[x])
    for x in range(total.size):
        # false for NaN, which a NaN or +infinity among the logits has made of the total
        scale[x] = ONE / total[x] if total[x] > ZERO else ZERO


@_inlined
def _find_statistics(logits: Floats) -> VectorStatistics:
    """Summarise every vector, a row at a time: in planes, neighbours are vectorised."""
    h, w, classes = logits.shape
    padded = _padded(w)
    top = np.empty((h, padded), np.int32)
    peak = np.empty((h, padded), np.float32)
    scale = np.empty((h, padded), np.float32)
    total = np.empty(padded, np.float32)
    planes = np.zeros((classes, padded), np.float32)
    for i in range(h):
        _transpose(logits[i], planes)
        _find_top(planes, top[i], peak[i])
        _find_scale(planes, peak[i], total, scale[i])
    return VectorStatistics(top, peak, scale)


@_inlined
def _interpolate_row(values: Floats, axis: Axis, out: Floats) -> None:
    """Interpolate a row of numbers, one a logit vector, to the pixels of ``out``."""
    last = axis.starts.size - 2
    for j in range(last + 1):
        here = values[j]
        step = values[min(j + 1, last)] - here
        for x in range(axis.starts[j], axis.starts[j + 1]):
            out[x] = here + axis.weights[x] * step


@_inlined
def _fill_labels(top: Ids, axis: Axis, labels: Labels) -> None:
    """Write a band of rows as if the left upper corner's argmax won the whole cell."""
    first = labels[0]
    for j in range(axis.starts.size - 1):
        for x in range(axis.starts[j], axis.starts[j + 1]):
            first[x] = top[j]
    for y in range(1, labels.shape[0]):
        labels[y] = first


@_inlined
def _fill_confidence(upper: Floats, lower: Floats, weights: Floats, confidence: Bytes) -> None:
    """Write a band of rows between two rows of probabilities of the corners' argmaxes."""
    for y in range(weights.size):
        weight = weights[y]
        line = confidence[y]
        for x in range(line.size):
            line[x] = _byte(upper[x] + weight * (lower[x] - upper[x]))


@_inlined
def _cell(
    logits: Floats, statistics: VectorStatistics, rows: tuple[int, int], columns: tuple[int, int]
) -> Cell:
    top, peak, scale = statistics
    i, below = rows
    j, right = columns
    return Cell(
        (logits[i, j], logits[i, right], logits[below, j], logits[below, right]),
        (top[i, j], top[i, right], top[below, j], top[below, right]),
        (peak[i, j], peak[i, right], peak[below, j], peak[below, right]),
        (scale[i, j], scale[i, right], scale[below, j], scale[below, right]),
    )


@_inlined
def _candidates(cell: Cell, found: Ids) -> int:
    """List, ascending, the classes that can win a pixel of a cell; return how many."""
    a, b, c, d = cell.corners
    # the largest of the smallest corners, nearly always that of one of the corners' argmaxes
    bound = LOWEST
    for top in cell.tops:
        bound = max(bound, min(a[top], b[top], c[top], d[top]))
    passed = 0
    for k in range(a.size):
        found[passed] = k
        passed += max(a[k], b[k], c[k], d[k]) >= bound
    for k in found[:passed]:
        bound = max(bound, min(a[k], b[k], c[k], d[k]))
    count = 0
    for k in found[:passed]:
        found[count] = k
        count += max(a[k], b[k], c[k], d[k]) >= bound
    return count


@_inlined
def _new_scratch(classes: int) -> Scratch:
    n = _padded(TILE_ROWS * TILE_COLUMNS)
    down, right = np.zeros(n, np.float32), np.zeros(n, np.float32)
    best, share = np.zeros(n, np.float32), np.zeros(n, np.float32)
    found, won = np.empty(classes, np.int32), np.zeros(classes, np.uint8)
    return Scratch(down, right, best, np.zeros(n, np.int32), share, found, won)


@_inlined
def _lay_out(down: Floats, right: Floats, tile: Scratch) -> int:
    """Set the weights of a tile's pixels; return their number, padded."""
    for y in range(down.size):
        start = y * right.size
        for x in range(right.size):
            tile.down[start + x] = down[y]
        for x in range(right.size):
            tile.right[start + x] = right[x]
    return _padded(down.size * right.size)


@_inlined
def _find_winners(cell: Cell, found: Ids, tile: Scratch, n: int) -> None:
    """Interpolate each class that was found at each pixel and keep the best one."""
    a, b, c, d = cell.corners
    down, right, best, winner = tile.down, tile.right, tile.best, tile.winner
    best[:n] = LOWEST
    winner[:n] = found[0]
    for k in found:
        terms = _terms(a[k], b[k], c[k], d[k])
        for p in range(n):
            value = _mix((down[p], right[p]), terms)
            better = value > best[p]
            best[p] = value if better else best[p]
            winner[p] = k if better else winner[p]


@_inlined
def _probability(cell: Cell, corner: int, k: int) -> np.float32:
    scale = cell.scales[corner]
    # an unusable vector's exponential may be NaN
    return _exp(cell.corners[corner][k] - cell.peaks[corner]) * scale if scale > ZERO else ZERO


@_inlined
def _find_shares(cell: Cell, found: Ids, tile: Scratch, n: int) -> None:
    """Interpolate the probabilities of each pixel's winner; ``won`` holds zeros."""
    down, right, _, winner, share, _, won = tile
    for p in range(n):
        won[winner[p]] = 1
    for k in found:
        if won[k] == 0:
            continue
        won[k] = 0
        terms = _terms(
            _probability(cell, 0, k),
            _probability(cell, 1, k),
            _probability(cell, 2, k),
            _probability(cell, 3, k),
        )
        for p in range(n):
            value = _mix((down[p], right[p]), terms)
            share[p] = value if winner[p] == k else share[p]


@_inlined
def _write(tile: Scratch, labels: Labels, confidence: Bytes) -> None:
    rows, columns = labels.shape
    for y in range(rows):
        start = y * columns
        for x in range(columns):
            labels[y, x] = tile.winner[start + x]
        for x in range(columns):
            confidence[y, x] = _byte(tile.share[start + x])


@_inlined
def _decode_boundary_cell(
    cell: Cell, tile: Scratch, weights: tuple[Floats, Floats], labels: Labels, confidence: Bytes
) -> None:
    """Decode the pixels of a cell whose corners disagree, tile by tile."""
    down, right = weights
    count = _candidates(cell, tile.found)
    if count == 0:  # every class has a NaN: the cell stays as it was spread
        return
    found = tile.found[:count]
    for y in range(0, down.size, TILE_ROWS):
        ys = slice(y, min(y + TILE_ROWS, down.size))
        for x in range(0, right.size, TILE_COLUMNS):
            xs = slice(x, min(x + TILE_COLUMNS, right.size))
            n = _lay_out(down[ys], right[xs], tile)
            _find_winners(cell, found, tile, n)
            _find_shares(cell, found, tile, n)
            _write(tile, labels[ys, xs], confidence[ys, xs])


@entry
def decode_kernel(
    logits: Floats, rows: Axis, columns: Axis, labels: Labels, confidence: Bytes
) -> None:
    """Fill ``labels`` and ``confidence`` (height, width) from ``logits`` (h, w, classes)."""
    h, w, classes = logits.shape
    statistics = _find_statistics(logits)
    top = statistics.top
    upper = np.empty(columns.weights.size, np.float32)
    lower = np.empty(columns.weights.size, np.float32)
    scratch = _new_scratch(classes)
    _interpolate_row(statistics.scale[0], columns, lower)
    for i in range(h):
        below = min(i + 1, h - 1)
        upper, lower = lower, upper
        _interpolate_row(statistics.scale[below], columns, lower)
        ys = slice(rows.starts[i], rows.starts[i + 1])
        if ys.start == ys.stop:
            continue
        down = rows.weights[ys]
        _fill_labels(top[i], columns, labels[ys])
        _fill_confidence(upper, lower, down, confidence[ys])
        for j in range(w):
            right = min(j + 1, w - 1)
            xs = slice(columns.starts[j], columns.starts[j + 1])
            agree = top[i, j] == top[i, right] == top[below, j] == top[below, right]
            if agree or xs.start == xs.stop:
                continue
            cell = _cell(logits, statistics, (i, below), (j, right))
            weights = (down, columns.weights[xs])
            _decode_boundary_cell(cell, scratch, weights, labels[ys, xs], confidence[ys, xs])
