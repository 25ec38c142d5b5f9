"""Labels and confidence on the device that made the logits, without upsampling them.

The definition is that of :mod:`lemore_core.inference.cpu.decode`; there a CPU saves work by skipping the
classes that cannot win, here a GPU does the same for every pixel at once. Neither ever holds the
logits at the camera's size. One way in plain PyTorch serves every device: builds for Jetson often
come without Triton.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lemore_core.inference.gpu.corners import Corners

# of float32: what is held of the logits at the camera's size, a band of rows at a time
BAND_NUMBERS = 2**22


class DeviceDecode:
    """Decodes logits of one shape to labels and confidence of one size.

    ``logits`` is their (h, w, classes), ``size`` the (height, width) of the result. Called with
    (N, h, w, classes) float32 or float16 on the device, of any strides, it returns labels
    (N, height, width), uint8 or beyond 255 classes uint16, and confidence (N, height, width)
    uint8. Nothing waits for the host, so a call can be captured in a CUDA graph.
    """

    def __init__(
        self,
        logits: tuple[int, int, int],
        size: tuple[int, int],
        device: torch.device | str,
    ) -> None:
        device = torch.device(device)
        height, width, self.classes = logits
        self.size = size
        self.rows = Corners.between(height, size[0], device)
        self.columns = Corners.between(width, size[1], device)

    @property
    def is_wide(self) -> bool:
        """Whether labels need 16 bits."""
        return self.classes > 255

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return labels and confidence; shapes and dtypes as above."""
        labels, confidence = self._decode(logits.float())
        # few operations know uint16: up to here the bits are in int16
        return (labels.view(torch.uint16) if self.is_wide else labels), confidence

    def _decode(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        height, width = self.size
        shape = (len(logits), height, width)
        kind = torch.int16 if self.is_wide else torch.uint8
        labels = torch.empty(shape, dtype=kind, device=logits.device)
        confidence = torch.empty(shape, dtype=torch.uint8, device=logits.device)
        # a vector with a NaN or an infinity in it has no probabilities
        probabilities = torch.softmax(logits, -1).nan_to_num_(0)
        step = max(1, BAND_NUMBERS // (len(logits) * width * self.classes))
        for start in range(0, height, step):
            band = slice(start, start + step)
            rows = self.rows.part(band)
            winners = self._winners(logits, rows)
            labels[:, band] = winners.to(kind)
            share = self._shares(probabilities, rows, winners)
            confidence[:, band] = (share * 255 + 0.5).to(torch.uint8)
        return labels, confidence

    def _winners(self, logits: Tensor, rows: Corners) -> Tensor:
        """Return the labels (N, rows, width) int64 of a band."""
        upper = self._across(logits.index_select(1, rows.first))
        lower = self._across(logits.index_select(1, rows.second))
        values = torch.lerp(upper, lower, rows.weight.view(-1, 1, 1))
        # a NaN would win
        return values.nan_to_num_(-torch.inf, torch.inf, -torch.inf).argmax(-1)

    def _across(self, lines: Tensor) -> Tensor:
        first, second = (
            lines.index_select(2, index) for index in (self.columns.first, self.columns.second)
        )
        return torch.lerp(first, second, self.columns.weight.view(-1, 1))

    def _shares(self, probabilities: Tensor, rows: Corners, winners: Tensor) -> Tensor:
        """Interpolate the winners' probabilities (N, h, w, classes) to (N, rows, width)."""
        count, height, width, classes = probabilities.shape
        flat = probabilities.reshape(-1)
        images = torch.arange(count, device=flat.device).view(-1, 1, 1) * (height * width)

        def corner(row: Tensor, column: Tensor) -> Tensor:
            vector = images + (row.view(-1, 1) * width + column)
            return flat[vector * classes + winners]

        across = self.columns.weight
        upper, lower = (
            torch.lerp(corner(row, self.columns.first), corner(row, self.columns.second), across)
            for row in (rows.first, rows.second)
        )
        return torch.lerp(upper, lower, rows.weight.view(-1, 1))
