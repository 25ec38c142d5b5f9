"""The compiled kernel's results, bit for bit, without compiling: for the first seconds of a machine.

Compiling takes longer than a robot may wait for its first labels. What is computed, and why that
is little, says :mod:`lemore_core.inference.cpu.decode`; every operation is a float32 one, in the
kernel's order. Only for finite logits, which all are that a backend decodes.
"""

from __future__ import annotations

import numpy as np

from lemore_core.inference.cpu.decode_numba import (
    EXP2,
    EXPONENT_SHIFT,
    FULL,
    HALF,
    LOG2_E,
    LOWEST,
    ONE,
    ONE_BITS,
    ROUNDER,
    SMALLEST_EXPONENT,
    Axis,
    Bytes,
    Floats,
    Ints,
    Labels,
)


def decode_plainly(
    logits: Floats, rows: Axis, columns: Axis, labels: Labels, confidence: Bytes
) -> None:
    """Fill ``labels`` and ``confidence`` (height, width) from ``logits`` (h, w, classes)."""
    i, below = _corners(rows)
    j, right = _corners(columns)
    top = logits.argmax(-1)
    peak = logits.max(-1)
    total = np.zeros_like(peak)
    for plane in np.moveaxis(logits, -1, 0):
        total += _exp(plane - peak)
    scale = ONE / total

    line = scale[:, j] + columns.weights * (scale[:, right] - scale[:, j])
    upper, lower = line[i], line[below]
    labels[:] = top[i][:, j]
    confidence[:] = _byte(upper + rows.weights[:, None] * (lower - upper))

    others = ((below, j), (i, right), (below, right))
    differs = [top[ys][:, xs] != labels for ys, xs in others]
    y, x = np.nonzero(differs[0] | differs[1] | differs[2])
    weights = rows.weights[y], columns.weights[x]
    corners = [(ys[y], xs[x]) for ys in (i, below) for xs in (j, right)]
    winner = _winners(logits, corners, weights)
    labels[y, x] = winner
    shares = [_exp(logits[(*at, winner)] - peak[at]) * scale[at] for at in corners]
    confidence[y, x] = _byte(_mix(weights, shares))


def _winners(
    logits: Floats, corners: list[tuple[Ints, Ints]], weights: tuple[Floats, Floats]
) -> Ints:
    """Return the class with the largest interpolated logit at each pixel."""
    best = np.full(weights[0].size, LOWEST, np.float32)
    winner = np.zeros(weights[0].size, np.int64)
    # of each cell, the classes that can win
    least = most = logits
    for axis in (0, 1):
        next_one = np.minimum(np.arange(logits.shape[axis]) + 1, logits.shape[axis] - 1)
        least = np.minimum(least, least.take(next_one, axis))
        most = np.maximum(most, most.take(next_one, axis))
    possible = most >= least.max(-1, keepdims=True)
    for k, plane in enumerate(np.moveaxis(logits, -1, 0)):
        (pixels,) = np.nonzero(possible[..., k][corners[0]])
        terms = [plane[ys[pixels], xs[pixels]] for ys, xs in corners]
        value = _mix((weights[0][pixels], weights[1][pixels]), terms)
        better = value > best[pixels]
        best[pixels[better]] = value[better]
        winner[pixels[better]] = k
    return winner


def _corners(axis: Axis) -> tuple[Ints, Ints]:
    """Return the logits before and behind each pixel."""
    last = axis.starts.size - 2
    before = np.repeat(np.arange(last + 1), np.diff(axis.starts))
    return before, np.minimum(before + 1, last)


def _mix(weights: tuple[Floats, Floats], corners: list[Floats]) -> Floats:
    down, right = weights
    a, b, c, d = corners
    mixed: Floats = a + right * (b - a) + down * ((c - a) + right * ((d - c) - (b - a)))
    return mixed


def _exp(x: Floats) -> Floats:
    power = np.maximum(x * LOG2_E, SMALLEST_EXPONENT)
    rounded = power + ROUNDER
    f = power - (rounded - ROUNDER)
    mantissa = np.full_like(f, EXP2[-1])
    for c in EXP2[-2::-1]:
        mantissa = c + f * mantissa
    exponent = (rounded.view(np.int32) << EXPONENT_SHIFT) + ONE_BITS
    exact: Floats = mantissa * exponent.view(np.float32)
    return exact


def _byte(probability: Floats) -> Bytes:
    return (probability * FULL + HALF).astype(np.int32).astype(np.uint8)
