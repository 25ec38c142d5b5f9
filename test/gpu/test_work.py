"""Operations (no views) and bytes read and written of a frame, on the device "meta": no GPU needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from gpu_suite import networks
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lemore_core.inference.gpu.decode import decode_plainly
from lemore_core.inference.gpu.resize import DeviceResize
from lemore_core.inference.torch_backend import fuse_relu

SIZE, CLASSES = (512, 512), 150
# of resize and network; 1 MB is 10^6 bytes
MOST_OPERATIONS, MOST_MEGABYTES = 195, 185
# of decoding in plain PyTorch; the kernel reads and writes 2 MB
MOST_DECODED_MEGABYTES = 460


class Count(TorchDispatchMode):
    """Counts operations and their bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name
        if not func.is_view and 'empty' not in name and name != 'aten::_unsafe_view':
            self.operations[name] += 1
            self.bytes += sum(t.numel() * t.element_size() for t in tensors((args, out)))
        return out


def tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from tensors(value)


def convolution_relu(x: Tensor, weight: Tensor, _: Tensor, *sides: Any) -> Tensor:
    """Return the empty result of ``cudnn_convolution_relu``, which has no meta implementation."""
    lengths = zip(x.shape[2:], weight.shape[2:], *sides[:3], strict=True)
    size = [(n + 2 * pad - gap * (k - 1) - 1) // step + 1 for n, k, step, pad, gap in lengths]
    return x.new_empty((len(x), len(weight), *size))


def test_a_frame_takes_no_more_work_than_before() -> None:
    library = torch.library.Library('aten', 'IMPL')
    library.impl('cudnn_convolution_relu', convolution_relu, 'Meta')
    graph = networks.untrained('tiny', *SIZE, CLASSES).halve()
    fuse_relu(graph.network)
    graph.network.to(memory_format=torch.channels_last)
    graph.to('meta')
    pixels = torch.zeros(1, *SIZE, 3, dtype=torch.uint8, device='meta')
    resize = DeviceResize(SIZE, 'rgb8', SIZE, 'meta')
    with torch.no_grad(), Count() as frame:
        logits, _ = graph(resize(pixels))
    assert logits.shape == (1, 64, 64, CLASSES)
    assert frame.operations.total() <= MOST_OPERATIONS, frame.operations
    assert frame.bytes <= MOST_MEGABYTES * 1e6

    found = torch.zeros(2, 1, *SIZE, dtype=torch.uint8, device='meta')
    with torch.no_grad(), Count() as decoding:
        decode_plainly(logits, *found)
    assert decoding.bytes <= MOST_DECODED_MEGABYTES * 1e6, decoding.operations
