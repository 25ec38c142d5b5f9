"""Counts parameters and operations in the convention behind the paper's tables."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lemore_core.model.cartesian_encoder import AxisMixing
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import LeMoReConfig


@dataclass(frozen=True)
class Cost:
    """``parameters``; ``macs`` and ``flops`` of one image of that size.

    ``flops`` is the field's figure (mmcv's counter): multiply-adds of convolutions and axis
    mixings, 2 per element of BatchNorm, 1 per element of ReLU, 1 per input element of a pooling
    module, 1 per output element with a bias. Resizes, sigmoids, softmaxes and the attention's two
    matrix products are not counted. ``macs`` is the first term alone.
    """

    height: int
    width: int
    parameters: int
    macs: int
    flops: int


def measure_cost(config: LeMoReConfig) -> Cost:
    """Count the network of ``config`` for one image of its input size, without computing it."""
    with torch.device('meta'):
        model = LeMoRe(config).eval()
        image = torch.empty(1, 3, config.height, config.width)
    macs = 0
    others = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs, others
        if isinstance(module, nn.Conv2d):
            macs += output.numel() * module.weight[0].numel()
            others += output.numel() if module.bias is not None else 0
        elif isinstance(module, AxisMixing):
            macs += output.numel() * module.weight.shape[0]
        elif isinstance(module, nn.BatchNorm2d):
            others += 2 * output.numel()
        elif isinstance(module, (nn.ReLU, nn.ReLU6)):
            others += output.numel()
        elif isinstance(module, (nn.AvgPool2d, nn.AdaptiveAvgPool2d)):
            others += inputs[0].numel()

    for module in model.modules():
        module.register_forward_hook(count)
    model(image)
    parameters = sum(p.numel() for p in model.parameters())
    return Cost(config.height, config.width, parameters, macs, flops=macs + others)
