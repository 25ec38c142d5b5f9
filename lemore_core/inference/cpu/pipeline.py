"""From images to labels in the memory of the host, around a network that runs from there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lemore_core.image import Image, to_network
from lemore_core.inference.backend import NOT_FINITE, BackendError, Status
from lemore_core.inference.cpu.decode import decode, warm_up
from lemore_core.segmentation import Segmentation, Timings

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class CpuPipeline:
    """A backend whose images are resized and whose logits are decoded on the CPU.

    ``network`` maps RGB (1, height, width, 3) uint8 to logits (1, height / 8, width / 8, classes)
    float32, sizes rounded up, for ``size`` (height, width).
    """

    def __init__(
        self, network: Network, size: tuple[int, int], classes: int, status: Status
    ) -> None:
        self.status = status
        self._network = network
        self._size = size
        self._classes = classes
        warm_up(classes)

    def segment(self, images: Sequence[Image]) -> list[Segmentation]:
        """Label images one by one: a CPU gains nothing from several at a time.

        Raises:
            BackendError: the network's logits are not those of its classes, or not finite.

        """
        return [self._segment(image) for image in images]

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of ``pixels``."""
        # the exported graph takes one image a run
        return np.concatenate([self._run(image[None]) for image in pixels])

    def close(self) -> None:
        """Nothing works in the background."""

    def _segment(self, image: Image) -> Segmentation:
        started = time.perf_counter()
        pixels = to_network(image.pixels, image.encoding, *self._size)
        prepared = time.perf_counter()
        logits = self._run(pixels[None])[0]
        inferred = time.perf_counter()
        labels, confidence = decode(logits, *image.pixels.shape[:2])
        decoded = time.perf_counter()
        steps = {
            'prepare': 1e3 * (prepared - started),
            'network': 1e3 * (inferred - prepared),
            'decode': 1e3 * (decoded - inferred),
        }
        timings = Timings(1e3 * (decoded - started), steps)
        return Segmentation(labels, confidence, self._size, timings)

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = np.ascontiguousarray(self._network(pixels))
        if logits.ndim != 4 or logits.shape[-1] != self._classes:
            msg = f'the network gave {logits.shape}, not logits of {self._classes} classes'
            raise BackendError(msg)
        with np.errstate(invalid='ignore'):
            # any NaN or infinity makes the sum one
            total = logits.sum()
        if not np.isfinite(total):
            raise BackendError(NOT_FINITE)
        return logits
