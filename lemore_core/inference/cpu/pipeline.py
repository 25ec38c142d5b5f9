"""Resize images and decode logits on the CPU, around any network."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lemore_core.images.image import Image, to_network
from lemore_core.inference.backend import NOT_FINITE, BackendError, Status, outputs_of
from lemore_core.inference.cpu.decode import decode, is_compiling, prepare
from lemore_core.segmentation import Segmentation, Timings

Floats = NDArray[np.float32]
Network = Callable[[NDArray[np.uint8]], Floats | tuple[Floats, ...]]


class CpuPipeline:
    """A backend whose images are resized and whose logits are decoded on the CPU, one by one.

    ``network`` maps RGB (1, height, width, 3) uint8 to logits (1, height / 8, width / 8, classes)
    float32, sizes rounded up, or to them and descriptors (1, n) float32, for ``size`` (height,
    width).
    """

    def __init__(
        self, network: Network, size: tuple[int, int], classes: int, status: Status
    ) -> None:
        self._status = status
        self._network = network
        self._size = size
        self._classes = classes
        prepare(classes)

    @property
    def status(self) -> Status:
        """The status at loading, and whether the decoder is compiled by now."""
        if is_compiling():
            return dataclasses.replace(self._status, preparing='compiling the decoder')
        return self._status

    def segment(self, images: Sequence[Image]) -> list[Segmentation]:
        """Segment images in turn."""
        return [self._segment(image) for image in images]

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of ``pixels``, run in turn."""
        return np.concatenate([self._run(one[None])[0] for one in pixels])

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _segment(self, image: Image) -> Segmentation:
        started = time.perf_counter()
        pixels = to_network(image.pixels, image.encoding, *self._size)
        prepared = time.perf_counter()
        logits, descriptors = self._run(pixels[None])
        inferred = time.perf_counter()
        decoded = decode(logits[0], *image.pixels.shape[:2])
        ended = time.perf_counter()
        steps = {
            'prepare': 1e3 * (prepared - started),
            'network': 1e3 * (inferred - prepared),
            'decode': 1e3 * (ended - inferred),
        }
        timings = Timings(1e3 * (ended - started), steps)
        descriptor = None if descriptors is None else descriptors[0]
        return Segmentation(*decoded, self._size, timings, descriptor=descriptor)

    def _run(self, pixels: NDArray[np.uint8]) -> tuple[Floats, Floats | None]:
        found, descriptors = outputs_of(self._network(pixels))
        logits = np.ascontiguousarray(found, np.float32)
        if logits.ndim != 4 or logits.shape[-1] != self._classes:
            msg = f'the network gave {logits.shape}, not logits of {self._classes} classes'
            raise BackendError(msg)
        with np.errstate(invalid='ignore'):
            # any NaN or infinity makes the sum one
            total = logits.sum()
        if not np.isfinite(total):
            raise BackendError(NOT_FINITE)
        return logits, descriptors
