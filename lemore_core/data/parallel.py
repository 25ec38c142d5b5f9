"""Work on every sample of a data set, by threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lemore_core.data.samples import Sample

Result = TypeVar('Result')
Progress = Callable[[int], object]  # told how many samples were done since the last call


def for_each(
    function: Callable[[Sample], Result],
    samples: Sequence[Sample],
    progress: Progress | None = None,
    workers: int | None = None,
) -> Iterator[Result]:
    """Yield the results of ``function`` in the order of the samples.

    ``workers`` is the number of threads, by default that of the processor's cores: decoders and
    NumPy let go of the interpreter while they work.
    """
    executor = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        for result in executor.map(function, samples):
            if progress is not None:
                progress(1)
            yield result
    finally:
        # on an error or an interrupt nobody waits for the rest of the data set
        executor.shutdown(cancel_futures=True)
