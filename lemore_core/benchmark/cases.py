"""What can be measured: a model on a backend, with images of one size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TypeVar

from lemore_core import inference as backends
from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.errors import LemoreError
from lemore_core.export.model_card import read_model_card
from lemore_core.inference import AUTO, Backend, ServingRequest, Status
from lemore_core.inference.input_size import network_size
from lemore_core.inference.registry import missing
from lemore_core.segmenter import Segmenter, resolve_checkpoint

Size = tuple[int, int]
T = TypeVar('T')


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
        return self._name(self.backend, *asked)

    def name(self, status: Status) -> str:
        """Return the case in a few words, with the backend that it came to be served by."""
        return self._name(status.backend, status.device, status.precision)

    def _name(self, *served: str) -> str:
        batch = f' x {self.batch}' if self.batch > 1 else ''
        return f'{" ".join([Path(self.model).name, *served])}, {of_size(self.image)}{batch}'

    def request(self) -> ServingRequest:
        """Return what a backend is asked for: the network size is resolved.

        Raises:
            LemoreError: no such model, or a value that is not allowed.

        """
        path = resolve_checkpoint(self.model, self.dataset)
        card = read_model_card(path)
        size = (card.config.height, card.config.width)
        if path.suffix != '.onnx':
            size = self.network or network_size(size, self.image)
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
class Skipped:
    """What was not measured, and the reason."""

    kind = 'skipped'
    what: str
    reason: str

    def lines(self) -> list[dict[str, str]]:
        """Return it by the columns of a table."""
        return [{'not measured': self.what, 'because': self.reason}]


def make_cases(
    models: Sequence[str],
    sizes: Sequence[Size],
    names: Sequence[str],
    *,
    dataset: str = '',
    devices: Sequence[str] = (AUTO,),
    precisions: Sequence[str] = (AUTO,),
    batches: Sequence[int] = (1,),
    network: Size | None = None,
) -> tuple[list[Case], list[Skipped]]:
    """Return every combination on the backends ``names`` that are installed; the others skipped.

    Raises:
        BackendError: no backend has such a name.
        SegmenterError: no model has such a name.
        BenchmarkError: none of the backends is installed.

    """
    for model in models:
        resolve_checkpoint(model, dataset)
    reasons = {name: '' if name == AUTO else missing(name) for name in names}
    skipped = [Skipped(name, reason) for name, reason in reasons.items() if reason]
    cases = [
        Case(
            model,
            size,
            dataset=dataset,
            backend=name,
            device=device,
            precision=precision,
            batch=batch,
            network=network,
        )
        for model, name, device, precision, size, batch in itertools.product(
            models, names, devices, precisions, sizes, batches
        )
        if not reasons[name]
    ]
    _require_any(cases, skipped)
    return cases, skipped


def load_each(
    cases: Sequence[Case], load: Callable[[Case], T]
) -> tuple[list[tuple[Case, T]], list[Skipped]]:
    """Load what can be loaded.

    Raises:
        BenchmarkError: nothing can.

    """
    loaded: list[tuple[Case, T]] = []
    skipped: list[Skipped] = []
    for case in cases:
        try:
            loaded.append((case, load(case)))
        except LemoreError as error:  # noqa: PERF203 - loading takes seconds
            skipped.append(Skipped(str(case), str(error)))
    _require_any(loaded, skipped)
    return loaded, skipped


def _require_any(measured: Sequence[object], skipped: Sequence[Skipped]) -> None:
    """Refuse a benchmark of which nothing is left.

    Raises:
        BenchmarkError: ``measured`` is empty.

    """
    if not measured:
        msg = f'nothing can be measured: {"; ".join(one.reason for one in skipped)}'
        raise BenchmarkError(msg)


def of_size(size: Size) -> str:
    """Write (height, width) as people do: width first."""
    return f'{size[1]}x{size[0]}'
