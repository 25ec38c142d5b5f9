"""Segment images of one kind on a device, in memory that never moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lemore_core.images.image import CHANNELS, Image
from lemore_core.inference.backend import ImageKind
from lemore_core.inference.gpu.decode import decode
from lemore_core.inference.gpu.resize import DeviceResize
from lemore_core.inference.gpu.stream import DeviceStream

Network = Callable[[Tensor], Tensor]


class Decoded(NamedTuple):
    """An image's labels and confidence, (H, W) each, and whether its logits were finite."""

    labels: NDArray[np.uint8] | NDArray[np.uint16]
    confidence: NDArray[np.uint8]
    is_finite: bool


class Plan:
    """Segments up to ``batch`` images of a kind at a time.

    Images go through pinned memory to the device, where they are resized to ``size``, run
    through the network and decoded; all results come back in one copy to pinned memory. On a
    GPU all of that is one CUDA graph. The unused places of a short batch hold older images, whose
    labels are not read. Used within ``stream.entered()``.
    """

    def __init__(
        self,
        network: Network,
        size: tuple[int, int],
        kind: ImageKind,
        batch: int,
        stream: DeviceStream,
    ) -> None:
        self._network = network
        self._stream = stream
        self._resize = DeviceResize(kind[:2], kind.encoding, size, stream.device)
        shape = (batch, *kind[:2], CHANNELS[kind.encoding])
        self._uploaded = self._on_host(shape)
        self._pixels = torch.zeros(shape, dtype=torch.uint8, device=stream.device)
        # only a run tells how many classes there are
        classes = network(self._resize(self._pixels)).shape[-1]
        self._results = _Results(batch, kind[:2], is_wide=classes > 255)
        self._found = torch.zeros(self._results.bytes, dtype=torch.uint8, device=stream.device)
        self._downloaded = self._on_host((self._results.bytes,))
        self._run = stream.record(self._queue, f'{batch} images of {kind}')

    def segment(self, images: Sequence[Image]) -> list[Decoded]:
        """Segment images; the results are copies."""
        uploaded = self._uploaded.numpy()
        for place, image in zip(uploaded, images, strict=False):
            np.copyto(place, image.pixels.reshape(place.shape))
        self._run()
        self._stream.wait()
        labels, confidence, finite = (one.numpy() for one in self._results.of(self._downloaded))
        kind = np.uint16 if labels.dtype == np.int16 else np.uint8
        return [
            Decoded(labels[i].view(kind).copy(), confidence[i].copy(), bool(finite[i]))
            for i in range(len(images))
        ]

    def _queue(self) -> None:
        self._pixels.copy_(self._uploaded, non_blocking=True)
        decode(self._network(self._resize(self._pixels)), *self._results.of(self._found))
        self._downloaded.copy_(self._found, non_blocking=True)

    def _on_host(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape, dtype=torch.uint8, pin_memory=self._stream.is_cuda)


class _Results:
    """The places of labels, confidence and finiteness in one row of bytes."""

    def __init__(self, batch: int, size: tuple[int, ...], *, is_wide: bool) -> None:
        self._shape = (batch, *size)
        pixels = batch * size[0] * size[1]
        self._lengths = [pixels * (2 if is_wide else 1), pixels, batch]
        self._kind = torch.int16 if is_wide else torch.uint8
        self.bytes = sum(self._lengths)

    def of(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return labels and confidence (N, H, W) and finiteness (N,) as views of ``row``."""
        labels, confidence, finite = torch.split(row, self._lengths)
        return (
            labels.view(self._kind).view(self._shape),
            confidence.view(self._shape),
            finite.view(torch.bool),
        )
