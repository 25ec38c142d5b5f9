"""What folding and INT8 make of the network alone, in ONNX Runtime: pixels in, logits out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lemore_core.benchmark.images import Pixels
from lemore_core.benchmark.interleaved import interleaved_times
from lemore_core.benchmark.percentiles import Percentiles, percentiles
from lemore_core.export.export import export_onnx
from lemore_core.export.quantize import quantise
from lemore_core.images.image import to_network
from lemore_core.inference.onnxruntime_backend import OnnxNetwork
from lemore_core.research.random_model import random_checkpoint

DATASET, SIZE = 'ade20k', (512, 512)


@dataclass(frozen=True)
class NetworkRow:
    """A network's figures; ``ratio`` is its median over that of the first of the same run."""

    kind = 'network'
    name: str
    threads: int
    calls: int
    network_ms: Percentiles
    ratio: float

    def lines(self) -> list[dict[str, str]]:
        """Return it by the columns of a table."""
        line = {
            'network alone': self.name,
            'threads': str(self.threads),
            **self.network_ms.columns(),
            '/ first': f'{self.ratio:.3f}',
            'calls': str(self.calls),
        }
        return [line]


def time_folding(image: Pixels, repeats: Iterable[object]) -> list[NetworkRow]:
    """Time tiny with 150 classes as exported plainly, folded, folded otherwise and in INT8.

    ``image`` is BGR (H, W, 3) uint8. The weights are random: the time does not depend on them.
    """
    pixels = to_network(image, 'bgr8', *SIZE)
    with tempfile.TemporaryDirectory(prefix='lemore-benchmark-') as folder:
        as_published = random_checkpoint(Path(folder, 'plain.safetensors'), DATASET, SIZE)
        at_head = random_checkpoint(
            Path(folder, 'head.safetensors'), DATASET, SIZE, fusion_at_head=True
        )
        folded = export_onnx(as_published, *SIZE)
        contents = {
            'plain': export_onnx(as_published, *SIZE, folded=False),
            'folded': folded,
            'folded, fusion_at_head': export_onnx(at_head, *SIZE),
            'folded, int8': quantise(folded, [pixels], least_agreement=0.0),
        }
    networks = {name: OnnxNetwork(content, name) for name, content in contents.items()}
    times = interleaved_times(
        {name: partial(network, pixels[None]) for name, network in networks.items()}, repeats
    )
    measured = {name: percentiles(found) for name, found in times.items()}
    return [
        NetworkRow(
            name,
            networks[name].threads,
            len(times[name]),
            found,
            found.median / measured['plain'].median,
        )
        for name, found in measured.items()
    ]
