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
    """A backend whose images are resized and whose logits are decoded on the CPU.

    ``network`` maps RGB (N, height, width, 3) uint8 to logits (N, height / 8, width / 8, classes)
    float32, sizes rounded up, or to them and descriptors (N, n) float32, for ``size`` (height,
    width) and N up to the batch of ``status``: one, unless it runs on a device that gains from more.
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
        """Segment images, a batch at a time."""
        step = self._status.batch
        batches = (images[start : start + step] for start in range(0, len(images), step))
        return [found for batch in batches for found in self._segment(batch)]

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of ``pixels``, batched."""
        step = self._status.batch
        batches = (pixels[start : start + step] for start in range(0, len(pixels), step))
        return np.concatenate([self._run(batch)[0] for batch in batches])

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _segment(self, images: Sequence[Image]) -> list[Segmentation]:
        started = time.perf_counter()
        resized = [to_network(image.pixels, image.encoding, *self._size) for image in images]
        # a single image, the usual case, is not copied
        pixels = resized[0][None] if len(resized) == 1 else np.stack(resized)
        prepared = time.perf_counter()
        logits, descriptors = self._run(pixels)
        inferred = time.perf_counter()
        sizes = (image.pixels.shape[:2] for image in images)
        decoded = [decode(each, *size) for each, size in zip(logits, sizes, strict=True)]
        ended = time.perf_counter()
        steps = {
            'prepare': 1e3 * (prepared - started),
            'network': 1e3 * (inferred - prepared),
            'decode': 1e3 * (ended - inferred),
        }
        timings = Timings(1e3 * (ended - started), steps)
        described = [None] * len(images) if descriptors is None else descriptors
        return [
            Segmentation(*arrays, self._size, timings, descriptor=descriptor)
            for arrays, descriptor in zip(decoded, described, strict=True)
        ]

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
