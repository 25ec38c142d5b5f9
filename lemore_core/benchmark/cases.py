"""What can be measured: a model on a backend, with images of one size."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from lemore_core import inference as backends
from lemore_core.export.description import describe
from lemore_core.inference import AUTO, Backend, ServingRequest
from lemore_core.inference.input_size import network_size
from lemore_core.inference.registry import missing
from lemore_core.segmenter import Segmenter, resolve_checkpoint

Size = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """A model served in one way, for images of ``image`` (height, width).

    ``network`` (height, width) fixes the size at which the network sees them, None: as for a
    Segmenter. The other values are those of :class:`~lemore_core.inference.ServingRequest`.
    """

    model: str
    image: Size
    _: KW_ONLY
    dataset: str = ''
    backend: str = AUTO
    device: str = AUTO
    precision: str = AUTO
    batch: int = 1
    network: Size | None = None

    def __str__(self) -> str:
        asked = [word for word in (self.device, self.precision) if word != AUTO]
        return self.name(self.backend, *asked)

    def name(self, *served: str) -> str:
        """Return the case in a few words, with what serves it."""
        batch = f' x {self.batch}' if self.batch > 1 else ''
        words = ' '.join([Path(self.model).name, *served])
        return f'{words}, {of_size(self.image)}{batch}'

    def request(self) -> ServingRequest:
        """Return what a backend is asked for: the network size is resolved.

        Raises:
            LemoreError: no such model, or a value that is not allowed.

        """
        path = resolve_checkpoint(self.model, self.dataset)
        card = describe(path)
        trained = (card.config.height, card.config.width)
        if path.suffix == '.onnx':
            size = trained
        else:
            size = self.network or network_size(trained, self.image)
            card.config.for_size(*size)  # refuses what is out of bounds
        return ServingRequest(
            path, *size, device=self.device, precision=self.precision, batch=self.batch
        )

    def load_backend(self) -> Backend:
        """Load what a Segmenter would use for the images of this case.

        Raises:
            LemoreError: it is not to be had here.

        """
        return backends.load(self.backend, self.request())

    def load(self) -> Segmenter:
        """Load a Segmenter that has this one network size loaded.

        Raises:
            LemoreError: it is not to be had here.

        """
        request = self.request()
        return Segmenter.load(
            request.path,
            backend=self.backend,
            device=self.device,
            precision=self.precision,
            batch=self.batch,
            network_size=request.size,
        )


@dataclass(frozen=True)
class Grid:
    """Values of which every combination is a case; ``sizes`` and ``network`` (height, width)."""

    models: Sequence[str]
    sizes: Sequence[Size]
    backends: Sequence[str]
    _: KW_ONLY
    dataset: str = ''
    devices: Sequence[str] = (AUTO,)
    precisions: Sequence[str] = (AUTO,)
    batches: Sequence[int] = (1,)
    network: Size | None = None


@dataclass(frozen=True)
class Skipped:
    """What was not measured, and the reason."""

    kind = 'skipped'
    what: str
    reason: str

    def lines(self) -> list[dict[str, str]]:
        """Return it by the columns of a table."""
        return [{'not measured': self.what, 'because': self.reason}]


def cases(grid: Grid) -> tuple[list[Case], list[Skipped]]:
    """Return the combinations whose backend is installed here, and the backends that are not.

    Raises:
        BackendError: no backend has such a name.
        SegmenterError: no model has such a name.

    """
    for model in grid.models:
        resolve_checkpoint(model, grid.dataset)
    reasons = {name: '' if name == AUTO else missing(name) for name in grid.backends}
    found = [
        Case(
            model,
            size,
            dataset=grid.dataset,
            backend=backend,
            device=device,
            precision=precision,
            batch=batch,
            network=grid.network,
        )
        for model, backend, device, precision, size, batch in itertools.product(
            grid.models, grid.backends, grid.devices, grid.precisions, grid.sizes, grid.batches
        )
        if not reasons[backend]
    ]
    return found, [Skipped(name, reason) for name, reason in reasons.items() if reason]


def of_size(size: Size) -> str:
    """Write (height, width) as people do: width first."""
    return f'{size[1]}x{size[0]}'
