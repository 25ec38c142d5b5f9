"""How much memory a loaded Segmenter takes, and whether it grows with the images."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lemore_core.benchmark.cases import Case
from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.benchmark.spread import robust_slope

CHILD = 'lemore_core.benchmark.memory_child'
PEAK_IMAGES = 5
SAMPLES = 50

Report = dict[str, Any]


@dataclass(frozen=True)
class Peak:
    """The most memory that a process held, in megabytes.

    ``gpu_mb`` is what PyTorch took of the GPU, None without one.
    """

    host_mb: float
    gpu_mb: float | None


@dataclass(frozen=True)
class Sample:
    """The resident memory after so many images."""

    images: int
    resident_mb: float


@dataclass(frozen=True)
class MemoryRow:
    """The resident memory of a process that loads a Segmenter and labels images, in megabytes.

    ``libraries_mb`` is the interpreter with every library imported that serving the model comes
    to import; ``loaded_mb`` with the Segmenter, ``first_mb`` after the first images, ``last_mb``
    after the last one. ``growth_mb`` is the slope over 1,000 images after the first ones, which
    a single jump does not move. ``samples`` are the measurements that it comes from.
    """

    kind = 'memory'
    name: str
    libraries_mb: float
    loaded_mb: float
    first_mb: float
    last_mb: float
    peak_mb: float
    peak_gpu_mb: float | None
    over_libraries_mb: float
    growth_mb: float
    images: int
    samples: list[Sample]

    def lines(self) -> list[dict[str, str]]:
        """Return it by the columns of a table."""
        line = {
            'memory in MB': self.name,
            'libraries': f'{self.libraries_mb:.0f}',
            'loaded': f'{self.loaded_mb:.0f}',
            'first images': f'{self.first_mb:.0f}',
            'last image': f'{self.last_mb:.0f}',
            'over libraries': f'{self.over_libraries_mb:.0f}',
            'per 1,000 images': f'{self.growth_mb:+.2f}',
            'peak': f'{self.peak_mb:.0f}',
            'images': str(self.images),
        }
        return [line]


def measure_peak(case: Case, image: Path | None) -> Peak:
    """Return the most memory that a fresh process holds which serves a case for a few images.

    ``image`` is as for :func:`~lemore_core.benchmark.images.read_image`.

    Raises:
        BenchmarkError: the process fails.

    """
    with _child(case, image, modules=[], images=PEAK_IMAGES) as reports:
        *_, last = reports
    return Peak(last['peak_mb'], last['gpu_mb'])


def measure_memory(
    case: Case, image: Path | None, images: int, advance: Callable[[int], object]
) -> MemoryRow:
    """Watch the memory of a fresh process that loads a case and labels ``images`` of them.

    ``advance`` is told how many more have been labelled. ``image`` is as above.

    Raises:
        BenchmarkError: the process fails.

    """
    # a first process tells what serving the model imports, sooner or later: the libraries
    with _child(case, image, modules=[], images=PEAK_IMAGES) as reports:
        *_, known = reports
    stages: dict[str, Report] = {}
    samples: list[Sample] = []
    with _child(case, image, modules=known['modules'], images=images) as reports:
        for report in reports:
            stages[report['stage']] = report
            if report['stage'] == 'labelled':
                advance(report['images'] - (samples[-1].images if samples else 0))
                samples.append(Sample(report['images'], report['resident_mb']))
    libraries, loaded, last = (stages[name] for name in ('libraries', 'loaded', 'labelled'))
    return MemoryRow(
        name=case.name(*last['served']),
        libraries_mb=libraries['resident_mb'],
        loaded_mb=loaded['resident_mb'],
        first_mb=samples[0].resident_mb,
        last_mb=last['resident_mb'],
        peak_mb=last['peak_mb'],
        peak_gpu_mb=last['gpu_mb'],
        over_libraries_mb=last['resident_mb'] - libraries['resident_mb'],
        growth_mb=1e3
        * robust_slope([one.images for one in samples], [one.resident_mb for one in samples]),
        images=last['images'],
        samples=samples,
    )


@contextmanager
def _child(
    case: Case, image: Path | None, *, modules: list[str], images: int
) -> Iterator[Iterator[Report]]:
    """Yield what a fresh process reports, one stage after another."""
    order = {
        'case': dataclasses.asdict(case),
        'image': None if image is None else str(image),
        'modules': modules,
        'images': images,
        'samples': SAMPLES,
    }
    command = [sys.executable, '-m', CHILD, json.dumps(order)]
    with (
        tempfile.TemporaryFile('w+', encoding='utf-8') as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            yield _reports(process, errors, case)
        except BaseException:
            process.kill()
            raise


def _reports(process: subprocess.Popen[str], errors: IO[str], case: Case) -> Iterator[Report]:
    assert process.stdout is not None
    for line in process.stdout:
        report: Report = json.loads(line)
        yield report
    if process.wait():
        errors.seek(0)
        lines = errors.read().strip().splitlines() or [f'status {process.returncode}']
        msg = f'the memory of {case} cannot be measured: {lines[-1]}'
        raise BenchmarkError(msg)
