"""The measurements of every case: memory, and the rates that it keeps up with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from lemore_core.benchmark.cases import Case, Skipped, load_each
from lemore_core.benchmark.images import at_size, read_image
from lemore_core.benchmark.memory import MemoryRow, measure_memory
from lemore_core.benchmark.peak import PeakRow, find_peak
from lemore_core.benchmark.rate import RateRow, post_images

# how long a backend segments as fast as it can, to see where to begin to search
TRIAL_SECONDS = 0.5


def measure_rates(
    cases: Sequence[Case],
    path: Path | None,
    *,
    rates: Sequence[float],
    seconds: float,
    probe_seconds: float,
) -> list[PeakRow | RateRow | Skipped]:
    """Find the highest rate of every case, then its latencies at fixed rates, in Hz.

    A fixed rate lasts ``seconds``, an attempt of the search ``probe_seconds``.

    Raises:
        LemoreError: the image cannot be read, or nothing can be loaded.

    """
    image = read_image(path)
    loaded, skipped = load_each(cases, Case.load)
    peaks: list[PeakRow | RateRow | Skipped] = []
    rows: list[RateRow] = []
    for case, segmenter in loaded:
        scaled = at_size(image, *case.image)
        segment = partial(segmenter.segment, scaled.pixels, scaled.encoding)
        start = _calls_per_second(segment) / 2
        name = case.name(segmenter.status)
        peaks.append(_highest_rate(segment, start, name, probe_seconds))
        rows += [
            post_images(segment, rate, seconds, name)
            for rate in tqdm(rates, desc='fixed rates', leave=False, disable=None)
        ]
        segmenter.close()
    return [*peaks, *rows, *skipped]


def measure_memories(
    cases: Sequence[Case], path: Path | None, images: int
) -> list[MemoryRow | Skipped]:
    """Watch the memory of every case, one after the other, over so many images.

    Raises:
        BenchmarkError: no case can be loaded.

    """
    loaded, skipped = load_each(cases, lambda case: measure_memory(case, path, images))
    return [*(row for _, row in loaded), *skipped]


def _highest_rate(
    segment: Callable[[], object], start: float, name: str, seconds: float
) -> PeakRow:
    with tqdm(desc='highest rate', unit='probe', leave=False, disable=None) as bar:

        def probe(rate: float) -> RateRow:
            bar.set_postfix_str(f'{rate:.1f} Hz')
            bar.update()
            return post_images(segment, rate, seconds)

        return find_peak(probe, start, name)


def _calls_per_second(call: Callable[[], object]) -> float:
    call()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < TRIAL_SECONDS:
        call()
        count += 1
    return count / (time.perf_counter() - began)
