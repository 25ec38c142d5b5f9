"""Precision of the network that is placed on a device, here on the CPU."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lemore_core.export.fold import load_graph
from lemore_core.inference.backend import FP16, FP32, BackendError
from lemore_core.inference.torch_backend import ConvolutionRelu, fuse_relu, place
from lemore_core.segmenter import resolve_checkpoint

CPU = torch.device('cpu')


@pytest.mark.parametrize('unfit', ['a weight', 'what it computes'])
def test_what_does_not_fit_half_precision_is_served_in_single(
    untrained_checkpoint: Path, unfit: str
) -> None:
    # its random weights make numbers that grow from layer to layer
    graph = load_graph(untrained_checkpoint, 64, 64)
    reason = 'its logits of a street are not finite: use fp32'
    if unfit == 'a weight':
        name, weight = next(
            (name, p) for name, p in graph.network.named_parameters() if p.dim() == 4
        )
        weight[0] = 1e5
        reason = f'{name} holds 100000, too large for fp16: use fp32'
    before = {name: tensor.clone() for name, tensor in graph.state_dict().items()}
    network, degraded = place(graph, untrained_checkpoint, CPU, 'auto')
    assert not network.is_half
    assert degraded == f'fp32 instead of fp16: {reason}'
    with pytest.raises(BackendError, match=f'cannot be served in fp16, {reason}'):
        place(graph, untrained_checkpoint, CPU, FP16)
    assert place(graph, untrained_checkpoint, CPU, FP32)[1] == ''
    for name, tensor in graph.state_dict().items():
        assert torch.equal(tensor, before[name]), 'the graph was changed'


def test_half_precision_is_served_where_it_fits() -> None:
    path = resolve_checkpoint('nano')
    network, degraded = place(load_graph(path, 64, 64), path, CPU, 'auto')
    assert (network.is_half, degraded) == (True, '')


@pytest.mark.parametrize('has_kernels', [True, False])
def test_a_convolution_and_its_relu_are_one_call(
    monkeypatch: pytest.MonkeyPatch, has_kernels: bool
) -> None:
    calls = []

    # the arguments of torch.cudnn_convolution_relu, which no CPU has
    def convolve(x: Tensor, weight: Tensor, bias: Tensor, *sides: object) -> Tensor:
        calls.append(sides)
        if not has_kernels:
            msg = 'GET was unable to find an engine to execute this computation'
            raise RuntimeError(msg)
        return nn.functional.conv2d(x, weight, bias, *sides).relu()

    monkeypatch.setattr(torch, 'cudnn_convolution_relu', convolve)
    graph = load_graph(resolve_checkpoint('nano'), 64, 64)
    fused = copy.deepcopy(graph)
    fuse_relu(fused.network)
    count = sum(isinstance(module, ConvolutionRelu) for module in fused.modules())
    assert count > 20
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    for runs in (1, 2):
        assert torch.equal(fused(pixels), graph(pixels))
        # without kernels each layer tries it once
        assert len(calls) == count * (runs if has_kernels else 1)
