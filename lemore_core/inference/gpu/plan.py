"""Segment images of one kind on a device, in memory that never moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
# labels and confidence (H, W), and whether the logits were finite
Decoded = tuple['NDArray[np.uint8] | NDArray[np.uint16]', 'NDArray[np.uint8]', bool]


class Plan:
    """Segment up to ``batch`` images of a kind at a time, within ``stream.entered()``.

    Images are copied through pinned memory to the device, resized to ``size``, run through the
    network and decoded; all results are copied back at once. On a GPU that is one CUDA graph. The
    unused places of a short batch hold older images, whose results are not read.
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
        # only a run tells the number of classes
        is_wide = network(self._resize(self._pixels)).shape[-1] > 255
        self._shape, self._kind = shape[:3], torch.int16 if is_wide else torch.uint8
        pixels = batch * kind.height * kind.width
        self._lengths = [pixels * (2 if is_wide else 1), pixels, batch]
        self._found = torch.zeros(sum(self._lengths), dtype=torch.uint8, device=stream.device)
        self._downloaded = self._on_host((sum(self._lengths),))
        self._run = stream.record(self._queue, f'{batch} images of {kind}')

    def segment(self, images: Sequence[Image]) -> list[Decoded]:
        """Segment images; the results are copies."""
        for place, image in zip(self._uploaded.numpy(), images, strict=False):
            np.copyto(place, image.pixels.reshape(place.shape))
        self._run()
        self._stream.wait()
        labels, confidence, finite = (one.numpy() for one in self._results(self._downloaded))
        kind = np.uint16 if labels.dtype == np.int16 else np.uint8
        return [
            (labels[i].view(kind).copy(), confidence[i].copy(), bool(finite[i]))
            for i in range(len(images))
        ]

    def _queue(self) -> None:
        self._pixels.copy_(self._uploaded, non_blocking=True)
        decode(self._network(self._resize(self._pixels)), *self._results(self._found))
        self._downloaded.copy_(self._found, non_blocking=True)

    def _results(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return labels and confidence (N, H, W) and finiteness (N,) as views of a row of bytes."""
        labels, confidence, finite = torch.split(row, self._lengths)
        return (
            labels.view(self._kind).view(self._shape),
            confidence.view(self._shape),
            finite.view(torch.bool),
        )

    def _on_host(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape, dtype=torch.uint8, pin_memory=self._stream.is_cuda)
