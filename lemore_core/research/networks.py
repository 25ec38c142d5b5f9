"""Networks alone, in ONNX Runtime: pixels in, logits out, nothing before or after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lemore_core.benchmark.cases import Case, of_size
from lemore_core.benchmark.images import Pixels, at_size
from lemore_core.benchmark.interleaved import interleaved_times
from lemore_core.benchmark.percentiles import Percentiles, percentiles
from lemore_core.image import to_network
from lemore_core.inference.onnxruntime_backend import OnnxNetwork


class AloneNetwork(Protocol):
    """A network with its input: a call runs it once."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def inputs(self) -> str:
        """The shapes and types of its input."""

    @property
    def threads(self) -> int:
        """On how many threads it runs."""

    def __call__(self) -> object:
        """Run it."""


@dataclass(frozen=True)
class OwnNetwork:
    """A LeMoRe network and the pixels (1, height, width, 3) uint8 that it is fed."""

    name: str
    network: OnnxNetwork
    pixels: Pixels

    @property
    def inputs(self) -> str:
        """What it is fed."""
        return f'{"x".join(map(str, self.pixels.shape))} {self.pixels.dtype}'

    @property
    def threads(self) -> int:
        """On how many threads it runs."""
        return self.network.threads

    def __call__(self) -> object:
        """Run it."""
        return self.network(self.pixels)


@dataclass(frozen=True)
class NetworkRow:
    """A network's figures; ``ratio`` is its median over that of the first of the same run."""

    kind = 'network'
    name: str
    inputs: str
    threads: int
    calls: int
    network_ms: Percentiles
    ratio: float

    def lines(self) -> list[dict[str, str]]:
        """Return it by the columns of a table."""
        line = {
            'network alone': self.name,
            'input': self.inputs,
            'threads': str(self.threads),
            **self.network_ms.columns(),
            '/ first': f'{self.ratio:.3f}',
            'calls': str(self.calls),
        }
        return [line]


def own_network(case: Case, image: Pixels) -> OwnNetwork:
    """Return the network of a case alone, fed with ``image``, BGR (H, W, 3) uint8.

    Raises:
        LemoreError: it cannot be loaded.

    """
    from lemore_core.export.export import export_onnx

    request = case.request()
    path = request.path
    content = path.read_bytes() if request.is_exported else export_onnx(path, *request.size)
    scaled = at_size(image, *case.image)
    pixels = to_network(scaled.pixels, scaled.encoding, *request.size)
    network = OnnxNetwork(content, request.device, str(path))
    return OwnNetwork(f'{case.model} {of_size(request.size)}', network, pixels[None])


def time_networks(networks: Sequence[AloneNetwork], repeats: Iterable[object]) -> list[NetworkRow]:
    """Run networks, interleaved, and return a row for each."""
    times = interleaved_times({network.name: network for network in networks}, repeats)
    measured = {name: percentiles(found) for name, found in times.items()}
    first = measured[networks[0].name].median
    return [
        NetworkRow(
            network.name,
            network.inputs,
            network.threads,
            len(times[network.name]),
            measured[network.name],
            measured[network.name].median / first,
        )
        for network in networks
    ]
