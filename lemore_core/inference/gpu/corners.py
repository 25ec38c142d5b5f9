"""Which logits lie around each pixel of an axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Corners:
    """The logits beside each pixel of an axis, laid out as torch does without ``align_corners``.

    ``first`` and ``second`` (pixels,) int32 are their indices, ``weight`` (pixels,) float32 is the
    share of the second.
    """

    first: Tensor
    second: Tensor
    weight: Tensor

    @classmethod
    def between(cls, logits: int, pixels: int, device: torch.device) -> Corners:
        """Lay ``pixels`` over ``logits``."""
        place = np.maximum((np.arange(pixels) + 0.5) * (logits / pixels) - 0.5, 0)
        first = np.minimum(place.astype(np.int32), logits - 1)
        second = np.minimum(first + 1, logits - 1)
        arrays = (first, second, (place - first).astype(np.float32))
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))

    def part(self, pixels: slice) -> Corners:
        """Return those of some of the pixels."""
        return Corners(self.first[pixels], self.second[pixels], self.weight[pixels])
