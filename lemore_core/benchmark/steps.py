"""How long each step from an image's bytes to its labels takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from tqdm import tqdm

from lemore_core.benchmark.cases import Case, Skipped, load_each, of_size
from lemore_core.benchmark.images import at_size, read_image
from lemore_core.benchmark.interleaved import interleaved
from lemore_core.benchmark.percentiles import Percentiles, percentiles
from lemore_core.images.image import Image
from lemore_core.inference import Backend
from lemore_core.segmentation import STEPS


@runtime_checkable
class StepTimer(Protocol):
    """A backend that runs all steps as one call, and times them one by one on request."""

    def steps(self, images: Sequence[Image], rounds: int) -> Mapping[str, float]:
        """Return the median milliseconds of each step for these images together."""


@dataclass(frozen=True)
class LoadedCase:
    """A case, ready to be measured."""

    case: Case
    backend: Backend
    images: Sequence[Image]

    def __call__(self) -> dict[str, float]:
        """Segment the images once; return the milliseconds of the steps that the backend reports."""
        found: dict[str, float] = {}
        for result in self.backend.segment(self.images):
            for step, milliseconds in result.timings.steps.items():
                found[step] = found.get(step, 0.0) + milliseconds
        return found


@dataclass(frozen=True)
class StepsRow:
    """A case's figures. Milliseconds are those of a call, which segments ``batch`` images.

    ``steps_ms`` has those of ``STEPS`` that the backend reports. ``over_network`` is the median of
    the whole over that of the network.
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
    total_ms: Percentiles
    steps_ms: Mapping[str, Percentiles]
    images_per_second: float
    over_network: float | None

    def lines(self) -> list[dict[str, str]]:
        """Return it by the columns of a table, a line for each step and one for the whole."""
        measured = {**self.steps_ms, 'whole': self.total_ms}
        network = self.steps_ms.get('network')
        lines = [
            {
                'case': '',
                'step': step,
                **one.columns(),
                '/ network': '' if network is None else f'{one.median / network.median:.2f}',
            }
            for step, one in measured.items()
        ]
        titles = (self.name, f'  network at {self.network}', f'  {self.degraded}')
        for line, title in zip(lines, titles, strict=False):
            line['case'] = title
        lines[-1] |= {
            'images/s': f'{self.images_per_second:.1f}',
            'calls': str(self.calls),
        }
        return lines


def measure_steps(
    cases: Sequence[Case], path: Path | None, repeats: int
) -> list[StepsRow | Skipped]:
    """Time the steps of every case, interleaved.

    ``path`` is as for :func:`~lemore_core.benchmark.images.read_image`.

    Raises:
        LemoreError: the image cannot be read, or nothing can be loaded.
    """
    image = read_image(path)
    loaded, skipped = load_each(cases, Case.load)
    ready = [
        LoadedCase(case, backend, [at_size(image, *case.image)] * case.options.batch)
        for case, backend in loaded
    ]
    timed = interleaved(
        {one.case: one for one in ready},
        tqdm(range(repeats), desc='repeats', leave=False, disable=None),
    )
    return [*(steps_row(one, timed[one.case]) for one in ready), *skipped]


def steps_row(loaded: LoadedCase, calls: Sequence[tuple[float, Mapping[str, float]]]) -> StepsRow:
    """Return the row of a case from the milliseconds of its calls, whole and by step."""
    case, status = loaded.case, loaded.backend.status
    whole = percentiles([milliseconds for milliseconds, _ in calls])
    steps = {step: percentiles([reported[step] for _, reported in calls]) for step in calls[0][1]}
    if not steps and isinstance(loaded.backend, StepTimer):
        medians = loaded.backend.steps(loaded.images, len(calls))
        steps = {step: Percentiles(medians[step]) for step in STEPS if step in medians}
    network = steps.get('network')
    return StepsRow(
        name=case.name(status),
        model=case.options.model,
        backend=status.backend,
        device=status.device,
        precision=status.precision,
        degraded=status.degraded,
        batch=case.options.batch,
        image=of_size(case.image),
        network=of_size(case.request().size),
        calls=len(calls),
        total_ms=whole,
        steps_ms=steps,
        images_per_second=1e3 * case.options.batch / whole.median,
        over_network=None if network is None else whole.median / network.median,
    )
