"""All that segments images of one size and encoding on a device, in memory that never moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lemore_core.images.image import CHANNELS, Image
from lemore_core.inference.gpu.decode import decode
from lemore_core.inference.gpu.resize import DeviceResize
from lemore_core.inference.gpu.stream import DeviceStream

Network = Callable[[Tensor], Tensor]


class Kind(NamedTuple):
    """What images must have in common to be segmented together."""

    height: int
    width: int
    encoding: str

    @classmethod
    def of(cls, image: Image) -> Kind:
        """Return an image's kind."""
        height, width = image.pixels.shape[:2]
        return cls(height, width, image.encoding)

    def __str__(self) -> str:
        return f'{self.width}x{self.height} {self.encoding}'


class Decoded(NamedTuple):
    """An image's labels and confidence, (H, W) each, and whether its logits were finite."""

    labels: NDArray[np.uint8] | NDArray[np.uint16]
    confidence: NDArray[np.uint8]
    is_finite: bool


class Plan:
    """Segments up to ``batch`` images of a kind at a time.

    Images go through pinned memory to the device, where they are resized to ``size``, run
    through the network and decoded; labels and confidence come back through pinned memory. On a
    GPU all of that is one CUDA graph. What a short batch leaves free holds older images, whose
    labels nobody reads. Used within ``stream.entered()``.
    """

    def __init__(
        self, network: Network, size: tuple[int, int], kind: Kind, batch: int, stream: DeviceStream
    ) -> None:
        self._network = network
        self._stream = stream
        self._size = kind[:2]
        self._resize = DeviceResize(self._size, kind.encoding, size, stream.device)
        shape = (batch, *self._size, CHANNELS[kind.encoding])
        self._uploaded = self._on_host(shape, torch.uint8)
        self._pixels = torch.zeros(shape, dtype=torch.uint8, device=stream.device)
        # only a run tells whether labels have 8 bits or 16
        results = decode(network(self._resize(self._pixels)), self._size)
        self._results = [self._on_host(tuple(one.shape), one.dtype) for one in results]
        self._run = stream.record(self.run_by_steps, f'{batch} images of {kind}')

    def segment(self, images: Sequence[Image]) -> list[Decoded]:
        """Segment images; what is returned is the caller's."""
        uploaded = self._uploaded.numpy()
        for place, image in zip(uploaded, images, strict=False):
            np.copyto(place, image.pixels.reshape(place.shape))
        self._run()
        self._stream.wait()
        labels, confidence, finite = (one.numpy() for one in self._results)
        return [
            Decoded(labels[i].copy(), confidence[i].copy(), bool(finite[i]))
            for i in range(len(images))
        ]

    def run_by_steps(self, mark: Callable[[str], None] = lambda _: None) -> None:
        """Queue the steps one by one, without a CUDA graph; ``mark`` gets the name of each."""
        self._pixels.copy_(self._uploaded, non_blocking=True)
        mark('upload')
        prepared = self._resize(self._pixels)
        mark('prepare')
        logits = self._network(prepared)
        mark('network')
        decoded = decode(logits, self._size)
        mark('decode')
        for there, here in zip(self._results, decoded, strict=True):
            there.copy_(here, non_blocking=True)
        mark('download')

    def _on_host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, pin_memory=self._stream.is_cuda)
