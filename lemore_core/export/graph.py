"""The graph that every backend runs: uint8 pixels in, logits out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lemore_core import checkpoint
from lemore_core.checkpoint import ModelCard
from lemore_core.export import PrecisionError
from lemore_core.export.fold import FoldedLeMoRe, fold


class ServingGraph(nn.Module):
    """Mean subtraction, folded network, and logits with the classes last, for one input size.

    Maps RGB ``pixels`` (N, height, width, 3) uint8 to logits (N, height / 8, width / 8, classes)
    float32, sizes rounded up. After :meth:`halve` the network computes in half precision.
    """

    mean: Tensor

    def __init__(self, card: ModelCard, network: FoldedLeMoRe) -> None:
        super().__init__()
        self.network = network
        self.is_half = False
        self.register_buffer('mean', torch.tensor(card.mean).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits of ``pixels``; shapes and dtypes as above."""
        # cast before the transpose: TensorRT takes uint8 only at the edge of a graph
        x = pixels.float().permute(0, 3, 1, 2) - self.mean
        # the mean is no number of half precision, so it is subtracted in single precision
        logits: Tensor = self.network(x.half() if self.is_half else x)
        return (logits.float() if self.is_half else logits).permute(0, 2, 3, 1)

    def halve(self) -> ServingGraph:
        """Convert the network to half precision."""
        for name, tensor in self.network.state_dict().items():
            if not torch.equal(tensor.isfinite(), tensor.half().isfinite()):
                largest = float(tensor[tensor.isfinite()].abs().max())
                msg = f'{name} holds {largest:g}, too large for fp16: use fp32'
                raise PrecisionError(msg)
        self.network.half()
        self.is_half = True
        return self


def load_graph(path: Path, height: int, width: int) -> ServingGraph:
    """Load a checkpoint as the graph for one network size; its axis weights are resampled once."""
    card, model = checkpoint.load(path)
    return ServingGraph(card, fold(model.resized(height, width), card.std)).eval()
