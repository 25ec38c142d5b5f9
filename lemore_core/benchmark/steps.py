"""How long each step from an image's bytes to its labels takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from lemore_core.benchmark.cases import Case, Skipped, of_size
from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.benchmark.images import Pixels, at_size
from lemore_core.benchmark.spread import Spread, spread
from lemore_core.errors import LemoreError
from lemore_core.image import Image
from lemore_core.segmentation import STEPS

if TYPE_CHECKING:
    from lemore_core.benchmark.memory import Peak
    from lemore_core.inference import Backend


@runtime_checkable
class StepsAside(Protocol):
    """A backend that runs all steps at one call, and times them one by one when it is asked."""

    def steps(self, images: Sequence[Image], rounds: int) -> Mapping[str, float]:
        """Return the median milliseconds of each step for these images together."""


@dataclass(frozen=True)
class LoadedCase:
    """A case, ready to be measured."""

    case: Case
    backend: Backend
    images: Sequence[Image]

    def __call__(self) -> dict[str, float]:
        """Label the images once; return the milliseconds of the steps that were told."""
        found: dict[str, float] = {}
        for result in self.backend.segment(self.images):
            for step, milliseconds in result.timings.steps.items():
                found[step] = found.get(step, 0.0) + milliseconds
        return found


@dataclass(frozen=True)
class StepsRow:
    """A case's figures. Milliseconds are those of a call, which labels ``batch`` images.

    ``steps`` has those of ``STEPS`` that the backend tells. ``over_network`` is the median of the
    whole over that of the network. The peaks are those of a fresh process that labels a few
    images; None where they were not measured or there is no GPU.
    """

    kind = 'steps'
    name: str
    model: str
    backend: str
    device: str
    precision: str
    degraded: str
    batch: int
    image: str
    network: str
    calls: int
    total_ms: Spread
    steps_ms: Mapping[str, Spread]
    images_per_second: float
    over_network: float | None
    peak_memory_mb: float | None
    peak_gpu_memory_mb: float | None

    def lines(self) -> list[dict[str, str]]:
        """Return it by the columns of a table, a line for each step and one for the whole."""
        spreads = {**self.steps_ms, 'whole': self.total_ms}
        titles = [self.name, f'  network at {self.network}', f'  {self.degraded}']
        titles += [''] * len(spreads)
        lines = [
            {
                'case': title,
                'step': step,
                **measured.columns(),
                '/ network': self._over_network(measured),
            }
            for title, (step, measured) in zip(titles, spreads.items(), strict=False)
        ]
        lines[-1] |= {
            'images/s': f'{self.images_per_second:.1f}',
            'peak MB': _whole_number(self.peak_memory_mb),
            'peak GPU MB': _whole_number(self.peak_gpu_memory_mb),
            'calls': str(self.calls),
        }
        return lines

    def _over_network(self, measured: Spread) -> str:
        network = self.steps_ms.get('network')
        return '' if network is None else f'{measured.median / network.median:.2f}'


def load_cases(cases: Sequence[Case], image: Pixels) -> tuple[list[LoadedCase], list[Skipped]]:
    """Load what can be loaded; ``image`` is BGR (H, W, 3) uint8, resized to each case's image.

    Raises:
        BenchmarkError: nothing can be loaded.

    """
    loaded: list[LoadedCase] = []
    skipped: list[Skipped] = []
    for case in cases:
        images = [at_size(image, *case.image)] * case.batch
        try:
            loaded.append(LoadedCase(case, case.load_backend(), images))
        except LemoreError as error:
            skipped.append(Skipped(str(case), str(error)))
    if not loaded:
        reasons = '; '.join(one.reason for one in skipped) or 'no backend is installed'
        msg = f'nothing can be measured: {reasons}'
        raise BenchmarkError(msg)
    return loaded, skipped


def steps_row(
    loaded: LoadedCase, calls: Sequence[tuple[float, Mapping[str, float]]], peak: Peak | None
) -> StepsRow:
    """Return the row of a case from the milliseconds of its calls, whole and by step."""
    case, status = loaded.case, loaded.backend.status
    whole = spread([milliseconds for milliseconds, _ in calls])
    steps = {step: spread([told[step] for _, told in calls]) for step in calls[0][1]}
    steps = steps or steps_aside(loaded, len(calls))
    network = steps.get('network')
    return StepsRow(
        name=case.name(status.backend, status.device, status.precision),
        model=case.model,
        backend=status.backend,
        device=status.device,
        precision=status.precision,
        degraded=status.degraded,
        batch=case.batch,
        image=of_size(case.image),
        network=of_size(case.request().size),
        calls=len(calls),
        total_ms=whole,
        steps_ms=steps,
        images_per_second=1e3 * case.batch / whole.median,
        over_network=None if network is None else whole.median / network.median,
        peak_memory_mb=None if peak is None else peak.host_mb,
        peak_gpu_memory_mb=None if peak is None else peak.gpu_mb,
    )


def _whole_number(value: float | None) -> str:
    return '' if value is None else f'{value:.0f}'


def steps_aside(loaded: LoadedCase, rounds: int) -> dict[str, Spread]:
    """Return the steps' medians of a backend that tells no steps of a call, if it has others."""
    if not isinstance(loaded.backend, StepsAside):
        return {}
    medians = loaded.backend.steps(loaded.images, rounds)
    return {step: Spread(medians[step]) for step in STEPS if step in medians}
