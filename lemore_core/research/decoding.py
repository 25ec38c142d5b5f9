"""Decoding logits to labels against the plain way, and against the network before it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from lemore_core import inference as backends
from lemore_core.benchmark.cases import of_size
from lemore_core.benchmark.images import Pixels
from lemore_core.benchmark.interleaved import interleaved_times
from lemore_core.benchmark.percentiles import Percentiles, percentiles
from lemore_core.export.export import export_onnx
from lemore_core.images.image import to_network
from lemore_core.inference import ServingRequest
from lemore_core.inference.cpu.decode import decode
from lemore_core.inference.onnxruntime_backend import OnnxNetwork
from lemore_core.research.random_model import random_checkpoint
from lemore_core.taxonomy import load_taxonomy

# data set and image size (height, width), which is the network's as well
DECODINGS = (('ade20k', (512, 512)), ('cityscapes', (720, 1280)))

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class DecodeRow:
    """A decoding's figures: as it is done, the plain way, and the network before it.

    ``torch_over_decode`` is how many times longer upsampling all logits and taking the argmax in
    torch lasts; ``decode_over_network`` is the share of the time of tiny in ONNX Runtime.
    """

    kind = 'decode'
    logits: str
    labels: str
    calls: int
    decode_ms: Percentiles
    torch_ms: Percentiles
    network_ms: Percentiles
    torch_over_decode: float
    decode_over_network: float

    def lines(self) -> list[dict[str, str]]:
        """Return it by the columns of a table."""
        line = {
            'decode': f'{self.logits} to {self.labels}',
            **self.decode_ms.columns(),
            'network ms': f'{self.network_ms.median:.2f}',
            'decode / network': f'{self.decode_over_network:.3f}',
            'torch ms': f'{self.torch_ms.median:.2f}',
            'torch / decode': f'{self.torch_over_decode:.0f}',
            'calls': str(self.calls),
        }
        return [line]


def time_decoding(
    model: Path, image: Pixels, dataset: str, size: tuple[int, int], repeats: Iterable[object]
) -> DecodeRow:
    """Time decoding to ``size`` (height, width) with the classes of a data set.

    ``model`` is a checkpoint that gives the logits of ``image``, BGR (H, W, 3) uint8. Where it has
    fewer classes, they are widened, see :func:`widened`. The network that the decoding is compared
    with has random weights: its time does not depend on them.

    Raises:
        LemoreError: the checkpoint cannot be loaded.
    """
    classes = len(load_taxonomy(dataset).classes)
    pixels = to_network(image, 'bgr8', *size)[None]
    backend = backends.load('torch', ServingRequest(model, *size, device='cpu'))
    logits = widened(backend.logits(pixels)[0], classes)
    with tempfile.TemporaryDirectory(prefix='lemore-benchmark-') as folder:
        path = random_checkpoint(Path(folder, 'random.safetensors'), dataset, size)
        network = OnnxNetwork(export_onnx(path, *size), 'random')
    times = interleaved_times(
        {
            'decode': partial(decode, logits, *size),
            'torch': partial(torch_decode, logits, *size),
            'network': partial(network, pixels),
        },
        repeats,
    )
    measured = {name: percentiles(milliseconds) for name, milliseconds in times.items()}
    return DecodeRow(
        logits=f'{of_size((logits.shape[0], logits.shape[1]))}x{classes}',
        labels=of_size(size),
        calls=len(times['decode']),
        decode_ms=measured['decode'],
        torch_ms=measured['torch'],
        network_ms=measured['network'],
        torch_over_decode=measured['torch'].median / measured['decode'].median,
        decode_over_network=measured['decode'].median / measured['network'].median,
    )


def torch_decode(logits: Logits, height: int, width: int) -> NDArray[np.int64]:
    """Decode ``logits`` (h, w, classes) the plain way: upsample all of them, then argmax.

    Returns (height, width). It is what the fused decoding is measured against.
    """
    planes = torch.from_numpy(logits).permute(2, 0, 1)[None].contiguous()
    full = functional.interpolate(
        planes, size=(height, width), mode='bilinear', align_corners=False
    )
    return full.argmax(1)[0].numpy()


def widened(logits: Logits, classes: int) -> Logits:
    """Return ``logits`` (h, w, trained) with more classes, or with the first of them.

    The trained classes stay; the others are weighted mixtures of them, a little below: they share
    the image's structure, as the classes of a larger data set would, and win in places.
    """
    trained = logits.shape[-1]
    if classes <= trained:
        return np.ascontiguousarray(logits[..., :classes])
    random = np.random.default_rng(0)
    mixture = random.dirichlet(np.full(trained, 0.5), classes - trained).astype(np.float32)
    others = logits @ mixture.T + random.normal(0, 1, classes - trained).astype(np.float32)
    return np.concatenate([logits, others], axis=-1)
