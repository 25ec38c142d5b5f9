"""Decode without compiling, until the kernel of this machine is compiled.

The results equal the kernel's bit for bit: every operation is a float32 one in its order. Only
for finite logits, which backends guarantee.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.inference.cpu import decode_numba as kernel
from lemore_core.inference.cpu.decode_numba import Axis, Bytes, Floats, Ints, Labels


def decode_plainly(
    logits: Floats, rows: Axis, columns: Axis, labels: Labels, confidence: Bytes
) -> None:
    """Fill ``labels`` and ``confidence`` (height, width) from ``logits`` (h, w, classes)."""
    top, agree, possible = _candidates(logits)
    shares = _shares(logits)
    cells = _cells(columns)
    labels[:] = top[_cells(rows)][:, cells]
    peak = shares.max(-1)
    left = peak[:, cells]
    sure = left + columns.weights * (peak[:, np.minimum(cells + 1, peak.shape[1] - 1)] - left)
    for i, (start, stop) in enumerate(pairwise(rows.starts)):
        below = min(i + 1, len(logits) - 1)
        down = rows.weights[start:stop, None]
        confidence[start:stop] = _bytes(sure[i] + down * (sure[below] - sure[i]))
        pixels = np.flatnonzero(~agree[i][cells])
        if start == stop or not pixels.size:
            continue
        classes = np.flatnonzero(possible[i][~agree[i]].any(0))
        right = columns.weights[pixels]
        value, value_step = _along(logits[i : i + 2, :, classes], cells[pixels], right)
        value[~possible[i].T[classes][:, cells[pixels]]] = kernel.LOWEST
        share, share_step = _along(shares[i : i + 2, :, classes], cells[pixels], right)
        best = np.full((stop - start, pixels.size), kernel.LOWEST)
        winner, found = np.zeros(best.shape, labels.dtype), np.zeros_like(best)
        for place, k in enumerate(classes):
            values = value[place] + down * value_step[place]
            better = cv2.compare(values, best, cv2.CMP_GT)
            cv2.copyTo(values, better, best)
            cv2.copyTo(share[place] + down * share_step[place], better, found)
            winner[better.view(bool)] = k
        labels[start:stop, pixels] = winner
        confidence[start:stop, pixels] = _bytes(found)


def _shares(logits: Floats) -> Floats:
    """Return the softmax of each vector, with the kernel's exponential."""
    power = np.maximum(
        (logits - logits.max(-1, keepdims=True)) * kernel.LOG2_E, kernel.SMALLEST_EXPONENT
    )
    rounded = power + kernel.ROUNDER
    rest = power - (rounded - kernel.ROUNDER)
    mantissa = np.full_like(rest, kernel.EXP2[-1])
    for coefficient in kernel.EXP2[-2::-1]:
        mantissa = coefficient + rest * mantissa
    exponent = (rounded.view(np.int32) << kernel.EXPONENT_SHIFT) + kernel.ONE_BITS
    shares: Floats = mantissa * exponent.view(np.float32)
    # one after the other, as the kernel adds them
    shares *= kernel.ONE / np.add.accumulate(shares, axis=-1)[..., -1:]
    return shares


def _bytes(shares: Floats) -> Bytes:
    return (shares * kernel.FULL + kernel.HALF).astype(np.uint8)


def _candidates(logits: Floats) -> tuple[Ints, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return each vector's argmax, whether a cell's four agree, and the classes that can win it."""
    top = logits.argmax(-1)
    framed = cv2.copyMakeBorder(top.astype(np.int32), 0, 1, 0, 1, cv2.BORDER_REPLICATE)
    agree = (framed[1:, :-1] == top) & (framed[:-1, 1:] == top) & (framed[1:, 1:] == top)
    least = most = logits
    for axis in (0, 1):
        last = logits.shape[axis] - 1
        after = np.minimum(np.arange(last + 1) + 1, last)
        least = np.minimum(least, least.take(after, axis))
        most = np.maximum(most, most.take(after, axis))
    return top, agree, most >= least.max(-1, keepdims=True)


def _along(vectors: Floats, cells: Ints, right: Floats) -> tuple[Floats, Floats]:
    """Interpolate one or two rows of vectors, (1 or 2, w, classes), to pixels of a line.

    Returns (classes, pixels) at the first row, and the step from it to the second.
    """
    last = vectors.shape[1] - 1
    ends = np.take(vectors, [cells, np.minimum(cells + 1, last)], 1).transpose(1, 0, 3, 2)
    (a, b), (c, d) = ends[:, 0], ends[:, -1]
    return a + right * (b - a), (c - a) + right * ((d - c) - (b - a))


def _cells(axis: Axis) -> Ints:
    """Return the cell of each pixel."""
    return np.repeat(np.arange(axis.starts.size - 1), np.diff(axis.starts))
