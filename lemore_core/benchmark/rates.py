"""The rates that every case keeps up with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lemore_core.benchmark.cases import Case, Skipped, load_each
from lemore_core.benchmark.images import at_size, read_image
from lemore_core.benchmark.interleaved import interleaved_times
from lemore_core.benchmark.peak import PeakRow, find_peak
from lemore_core.benchmark.rate import RateRow, post_images


def measure_rates(
    cases: Sequence[Case],
    path: Path | None,
    *,
    rates: Sequence[float],
    seconds: float,
    probe_seconds: float,
) -> list[PeakRow | RateRow | Skipped]:
    """Find the highest rate of every case, then its latencies at fixed rates, in Hz.

    A fixed rate lasts ``seconds``, a probe of the search ``probe_seconds``.

    Raises:
        LemoreError: the image cannot be read, or nothing can be loaded.
    """
    image = read_image(path)
    loaded, skipped = load_each(cases, Case.load)
    peaks: list[PeakRow | RateRow | Skipped] = []
    rows: list[RateRow] = []
    for case, backend in loaded:
        segment = partial(backend.segment, [at_size(image, *case.image)])
        name = case.name(backend.status)
        milliseconds = min(interleaved_times({'': segment}, range(3))[''])
        with tqdm(desc='highest rate', unit='probe', leave=False, disable=None) as bar:
            probe = partial(_probe, segment, probe_seconds, bar)
            peaks.append(find_peak(probe, 500 / milliseconds, name))
        rows += [
            post_images(segment, rate, seconds, name)
            for rate in tqdm(rates, desc='fixed rates', leave=False, disable=None)
        ]
        backend.close()
    return [*peaks, *rows, *skipped]


def _probe(segment: Callable[[], object], seconds: float, bar: Any, rate: float) -> RateRow:
    bar.update()
    return post_images(segment, rate, seconds)
