"""All that labels images of one size and encoding on a device, in memory that never moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lemore_core.image import CHANNELS, Image
from lemore_core.inference.gpu.decode import DeviceDecode
from lemore_core.inference.gpu.resize import DeviceResize
from lemore_core.inference.gpu.stream import DeviceStream

Network = Callable[[Tensor], Tensor]
Labels = NDArray[np.uint8] | NDArray[np.uint16]
# does a thing for every image, some at a time
Each = Callable[[Callable[[int], Any], int], list[Any]]


class Kind(NamedTuple):
    """What images must have in common to be labelled together."""

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


class DevicePlan:
    """Labels up to ``batch`` images of a kind at a time.

    Images go through pinned memory to the device, where they are resized to ``size``, run
    through the network and decoded; labels and confidence come back through pinned memory. On a
    GPU all of that is one CUDA graph. What a short batch leaves free holds older images, whose
    labels nobody reads. Used within ``stream.entered()``.
    """

    def __init__(
        self, network: Network, size: tuple[int, int], kind: Kind, batch: int, stream: DeviceStream
    ) -> None:
        self.kind = kind
        self._network = network
        self._stream = stream
        self._resize = DeviceResize(kind[:2], kind.encoding, size, stream.device)
        shape = (batch, kind.height, kind.width, CHANNELS[kind.encoding])
        self._uploaded = self._on_host(shape, torch.uint8)
        self._pixels = torch.zeros(shape, dtype=torch.uint8, device=stream.device)
        self._decode = self._make_decode()
        wide = torch.uint16 if self._decode.is_wide else torch.uint8
        self._labels = self._on_host(shape[:3], wide)
        self._confidence = self._on_host(shape[:3], torch.uint8)
        self._run = stream.record(self._queue, f'{batch} images of {kind}')

    def start(self, images: Sequence[Image], each: Each) -> None:
        """Queue images, whose pixels are copied before this returns; :meth:`collect` them."""
        uploaded = self._uploaded.numpy()

        def stage(i: int) -> None:
            np.copyto(uploaded[i], images[i].pixels.reshape(uploaded.shape[1:]))

        each(stage, len(images))
        self._run()

    def collect(self, count: int, each: Each) -> list[tuple[Labels, NDArray[np.uint8]]]:
        """Wait for the images that were started; their labels and confidence are the caller's."""
        self._stream.wait()
        labels, confidence = self._labels.numpy(), self._confidence.numpy()
        return each(lambda i: (labels[i].copy(), confidence[i].copy()), count)

    def run_by_steps(self, mark: Callable[[str], None]) -> None:
        """Queue the steps one by one, without a CUDA graph; ``mark`` is told the end of each."""
        self._queue(mark)

    def _queue(self, mark: Callable[[str], None] = lambda _: None) -> None:
        self._pixels.copy_(self._uploaded, non_blocking=True)
        mark('upload')
        prepared = self._resize(self._pixels)
        mark('prepare')
        logits = self._network(prepared)
        mark('network')
        labels, confidence = self._decode(logits)
        mark('decode')
        self._labels.copy_(labels, non_blocking=True)
        self._confidence.copy_(confidence, non_blocking=True)
        mark('download')

    def _make_decode(self) -> DeviceDecode:
        # only a run tells how many logits there are
        _, height, width, classes = self._network(self._resize(self._pixels)).shape
        return DeviceDecode((height, width, classes), self.kind[:2], self._stream.device)

    def _on_host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, pin_memory=self._stream.is_cuda)
