"""The graph that every backend runs: uint8 pixels in, logits out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lemore_core import checkpoint
from lemore_core.checkpoint import ModelCard
from lemore_core.model.lemore import LeMoRe, token_size


class ServingGraph(nn.Module):
    """Normalisation, network, and logits with the classes last, for one input size.

    Maps RGB ``pixels`` (N, height, width, 3) uint8 to logits (N, height / 8, width / 8, classes)
    float32, sizes rounded up.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, card: ModelCard, model: LeMoRe) -> None:
        super().__init__()
        self.network = model.eval()
        height, width = model.config.height, model.config.width
        if height % 64 or width % 64:
            # the ONNX exporter writes adaptive pooling only where every window has one size
            sizes = model.config.stage_sizes
            self.network.token_pool = MatrixPool(sizes, token_size(height, width))
        self.register_buffer('mean', torch.tensor(card.mean).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor(card.std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits of ``pixels``; shapes and dtypes as above."""
        # the cast comes before the transpose: TensorRT takes uint8 only at the edge of a graph
        x = pixels.float().permute(0, 3, 1, 2)
        logits: Tensor = self.network((x - self.mean) / self.std)
        return logits.permute(0, 2, 3, 1)


class MatrixPool(nn.Module):
    """Adaptive average pooling as two matrix products, for features of the given sizes.

    Equals ``nn.AdaptiveAvgPool2d`` where its windows overlap or differ in size as well.
    """

    def __init__(self, sizes: list[tuple[int, int]], output: tuple[int, int]) -> None:
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


def _averages(size: int, output: int) -> Tensor:
    matrix = torch.zeros(output, size)
    for i in range(output):
        start, end = i * size // output, -(-(i + 1) * size // output)
        matrix[i, start:end] = 1.0 / (end - start)
    return matrix


def load_graph(path: Path, height: int, width: int) -> ServingGraph:
    """Load a checkpoint as the graph for one network size; its axis weights are resampled once.

    Raises:
        CheckpointError: see :func:`lemore_core.checkpoint.load`.

    """
    card, model = checkpoint.load(path)
    return ServingGraph(card, model.resized(height, width)).eval()
