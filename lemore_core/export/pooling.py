"""Exportable pooling and resizing, as matrix products."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

Size = tuple[int, int]


class MatrixPool(nn.Module):
    """Equal to ``nn.AdaptiveAvgPool2d``, as two matrix products, for the given sizes.

    The ONNX exporter cannot write windows that overlap or differ in size.
    """

    def __init__(self, sizes: list[Size], output: Size) -> None:
        super().__init__()
        self.output = output
        for axis in (0, 1):
            for size in {s[axis] for s in sizes}:
                name = self._name(axis, size)
                self.register_buffer(name, _averages(size, output[axis]), persistent=False)

    @staticmethod
    def _name(axis: int, size: int) -> str:
        return f'{"rows" if axis == 0 else "columns"}_{size}'

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, *output)."""
        rows = getattr(self, self._name(0, int(x.shape[2])))
        columns = getattr(self, self._name(1, int(x.shape[3])))
        return torch.matmul(torch.matmul(rows, x), columns.transpose(0, 1))


def halve_features(x: Tensor) -> Tensor:
    """Pool ``x`` (N, C, H, W) by 2x2 to (N, C, ceil(H / 2), ceil(W / 2)).

    Equal to ``avg_pool2d(x, 2, ceil_mode=True)``, which is nine times slower in ONNX Runtime.
    """
    for axis in (2, 3):
        if int(x.shape[axis]) % 2:
            # the mean of the cut last window is that of its last row twice
            x = torch.cat([x, x.narrow(axis, int(x.shape[axis]) - 1, 1)], dim=axis)
    return functional.avg_pool2d(x, 2)


def halving_matrix(size: int) -> Tensor:
    """Return :func:`halve_features` along one axis as (ceil(size / 2), size)."""
    return functional.avg_pool1d(torch.eye(size)[None], 2, ceil_mode=True)[0].T


def resizing_matrix(size: int, output: int) -> Tensor:
    """Return bilinear resizing along one axis (``align_corners=False``) as (output, size)."""
    resized = functional.interpolate(
        torch.eye(size)[None], size=output, mode='linear', align_corners=False
    )
    return resized[0].T


def _averages(size: int, output: int) -> Tensor:
    matrix = torch.zeros(output, size)
    for i in range(output):
        start, end = i * size // output, -(-(i + 1) * size // output)
        matrix[i, start:end] = 1.0 / (end - start)
    return matrix
