"""Work on every sample of a data set, by threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')
OnProgress = Callable[[int], object]  # called with how many were done since the last call

AHEAD = 16  # samples that wait for each thread


def for_each(
    function: Callable[[Item], Result],
    samples: Sequence[Item],
    on_progress: OnProgress | None = None,
    workers: int | None = None,
) -> Iterator[Result]:
    """Yield the results of ``function`` in the order of the samples.

    ``workers`` is the number of threads, by default that of the processor's cores: decoders and
    NumPy release the interpreter lock while they work.
    """
    workers = workers or os.cpu_count() or 1
    executor = ThreadPoolExecutor(workers)
    remaining = iter(samples)
    # a task for each of a million images at once would fill the memory
    waiting: deque[Future[Result]] = deque(
        executor.submit(function, sample) for sample in islice(remaining, AHEAD * workers)
    )
    try:
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(executor.submit(function, sample) for sample in islice(remaining, 1))
            if on_progress is not None:
                on_progress(1)
            yield result
    finally:
        # on an error or an interrupt nobody waits for the rest of the data set
        executor.shutdown(cancel_futures=True)
