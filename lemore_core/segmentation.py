"""What an image's labels are, once they are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

STEPS = ('upload', 'prepare', 'network', 'decode', 'download')


@dataclass(frozen=True)
class Timings:
    """Milliseconds that an image took, in all and by step.

    ``steps`` has those of ``STEPS`` that were measured: a CPU uploads nothing, and a GPU that runs
    all of them at one call tells only the whole. Images that were labelled together each took
    ``total_ms``.
    """

    total_ms: float
    steps: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Segmentation:
    """Labels of an image of H x W pixels, at its own size.

    ``labels`` (H, W) uint8, or uint16 beyond 255 classes: class ids. ``confidence`` (H, W) uint8:
    the label's probability, 255 for certain. ``network_size`` (height, width) is the size at which
    the network saw the image (as the image lies), and ``resized`` the reason where that does not keep its aspect.
    """

    labels: NDArray[np.uint8] | NDArray[np.uint16]
    confidence: NDArray[np.uint8]
    network_size: tuple[int, int]
    timings: Timings
    resized: str = ''
