"""What folding and INT8 make of the network alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from lemore_core.benchmark.images import Pixels
from lemore_core.export.export import export_onnx
from lemore_core.export.quantize import quantise
from lemore_core.image import to_network
from lemore_core.inference.onnxruntime_backend import OnnxNetwork
from lemore_core.research.networks import NetworkRow, OwnNetwork, time_networks
from lemore_core.research.random_model import random_checkpoint

DATASET, SIZE = 'ade20k', (512, 512)


def time_folding(
    image: Pixels, repeats: Iterable[object], size: tuple[int, int]
) -> list[NetworkRow]:
    """Time tiny with 150 classes as exported plainly, folded, folded otherwise and in INT8.

    ``image`` is BGR (H, W, 3) uint8, ``size`` (height, width) the networks'. The weights are
    random: the time does not depend on them.
    """
    pixels = to_network(image, 'bgr8', *size)
    with tempfile.TemporaryDirectory(prefix='lemore-benchmark-') as folder:
        as_published = random_checkpoint(Path(folder, 'plain.safetensors'), DATASET, size)
        at_head = random_checkpoint(
            Path(folder, 'head.safetensors'), DATASET, size, fusion_at_head=True
        )
        folded = export_onnx(as_published, *size)
        contents = {
            'plain': export_onnx(as_published, *size, folded=False),
            'folded': folded,
            'folded, fusion_at_head': export_onnx(at_head, *size),
            'folded, int8': quantise(folded, [pixels], least_agreement=0.0),
        }
    networks = [
        OwnNetwork(name, OnnxNetwork(content, 'cpu', name), pixels[None])
        for name, content in contents.items()
    ]
    return time_networks(networks, repeats)
