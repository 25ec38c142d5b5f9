"""Hold the result of segmenting one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

STEPS = ('upload', 'prepare', 'network', 'decode', 'download')


@dataclass(frozen=True)
class Timings:
    """Milliseconds that segmenting an image took, in total and by step.

    ``steps`` has those of ``STEPS`` that were measured. Images of one batch each take ``total_ms``.
    """

    total_ms: float
    steps: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Segmentation:
    """Labels of an image of H x W pixels, at its own size or the size asked for.

    ``labels`` (H, W) uint8, or uint16 beyond 255 classes: class ids. ``confidence`` (H, W) uint8:
    the label's probability, 255 for certain. ``network_size`` (height, width) is the size of the
    network's input in the image's orientation, and ``resized`` the reason where its aspect differs.
    """

    labels: NDArray[np.uint8] | NDArray[np.uint16]
    confidence: NDArray[np.uint8]
    network_size: tuple[int, int]
    timings: Timings
    resized: str = ''
