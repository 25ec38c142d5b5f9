"""What can be measured: a model on a backend, with images of one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lemore_core import inference as backends
from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.common.errors import LemoreError
from lemore_core.export.model_card import read_model_card
from lemore_core.inference import AUTO, Backend, ServingRequest, Status
from lemore_core.inference.sizes import network_size
from lemore_core.segmenter import resolve_checkpoint
from lemore_core.segmenter_options import SegmenterOptions

T = TypeVar('T')


@dataclass(frozen=True)
class Case:
    """A model that is loaded in one way, for images of ``image`` (height, width)."""

    options: SegmenterOptions
    image: tuple[int, int]

    def __str__(self) -> str:
        given = (self.options.device, self.options.precision)
        return self._name(self.options.backend, *(word for word in given if word != AUTO))

    def name(self, status: Status) -> str:
        """Return the case in a few words, with the backend that was loaded for it."""
        return self._name(status.backend, status.device, status.precision)

    def _name(self, *words: str) -> str:
        batch = f' x {self.options.batch}' if self.options.batch > 1 else ''
        model = Path(self.options.model).name
        return f'{" ".join([model, *words])}, {of_size(self.image)}{batch}'

    def request(self) -> ServingRequest:
        """Return what a backend is asked for; the network's size is that of a Segmenter.

        Raises:
            LemoreError: no such model, or a value that is not allowed.
        """
        asked = self.options
        path = resolve_checkpoint(asked.model, asked.dataset)
        card = read_model_card(path)
        size = (card.config.height, card.config.width)
        if path.suffix != '.onnx':
            size = asked.size or network_size(size, self.image)
            card.config.for_size(*size)  # refuses what is out of bounds
        return ServingRequest(
            path, *size, device=asked.device, precision=asked.precision, batch=asked.batch
        )

    def load(self) -> Backend:
        """Load what a Segmenter would use for the images of this case.

        Raises:
            LemoreError: it is not to be had here.
        """
        from lemore_core.inference.cpu.decode import wait_until_compiled

        backend = backends.load(self.options.backend, self.request())
        wait_until_compiled()
        return backend


@dataclass(frozen=True)
class Skipped:
    """What was not measured, and the reason."""

    kind = 'skipped'
    what: str
    reason: str

    def lines(self) -> list[dict[str, str]]:
        """Return it by the columns of a table."""
        return [{'not measured': self.what, 'because': self.reason}]


def load_each(
    cases: Sequence[Case], load: Callable[[Case], T]
) -> tuple[list[tuple[Case, T]], list[Skipped]]:
    """Load what can be loaded; the rest is skipped.

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
    if not loaded:
        reasons = dict.fromkeys(one.reason for one in skipped)
        msg = f'nothing can be measured: {"; ".join(reasons)}'
        raise BenchmarkError(msg)
    return loaded, skipped


def of_size(size: tuple[int, int]) -> str:
    """Write (height, width) as people do: width first."""
    return f'{size[1]}x{size[0]}'
