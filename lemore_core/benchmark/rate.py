"""Images at a fixed rate, as from a camera: how many are dropped, and the latency of the labels."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from lemore_core.benchmark.percentiles import Percentiles, percentiles
from lemore_core.mailbox import Mailbox


@dataclass(frozen=True)
class RateRow:
    """The figures at one rate.

    ``posted_hz`` is what the source reached, on a busy machine less than ``rate_hz``.
    ``latency_ms`` is the time from posting an image to having its labels, of those segmented.
    ``cpu_load`` is processor seconds of this process a second of the clock: 1 is one processor.
    """

    kind = 'rate'
    name: str
    rate_hz: float
    posted_hz: float
    posted: int
    segmented: int
    dropped: int
    latency_ms: Percentiles
    cpu_load: float

    @property
    def drop_share(self) -> float:
        """The share of the posted images that a newer one replaced, from 0 to 1."""
        return self.dropped / self.posted

    def lines(self) -> list[dict[str, str]]:
        """Return it by the columns of a table."""
        line = {
            'at a fixed rate': self.name,
            'Hz': f'{self.rate_hz:g}',
            'reached Hz': f'{self.posted_hz:.1f}',
            **self.latency_ms.columns(),
            'dropped': f'{self.dropped} ({100 * self.drop_share:.1f}%)',
            'CPU load': f'{self.cpu_load:.2f}',
            'images': str(self.posted),
        }
        return [line]


class _Post(NamedTuple):
    """An image's number and the time at which it was posted, in seconds."""

    number: int
    time: float


class _ImageClock(threading.Thread):
    """Posts numbers at a fixed rate, each at its own moment, whether they are taken or not.

    A source that was held up posts what it missed at once, as a driver with a queue would.
    """

    def __init__(self, mailbox: Mailbox[_Post], rate: float, count: int) -> None:
        super().__init__(name='lemore_image_clock', daemon=True)
        self.seconds = 0.0
        self._mailbox = mailbox
        self._rate = rate
        self._count = count
        self._stopped = threading.Event()

    def run(self) -> None:
        """Post all, unless it is stopped."""
        started = time.perf_counter()
        for number in range(self._count):
            wait = started + number / self._rate - time.perf_counter()
            if wait > 0 and self._stopped.wait(wait):
                return
            self._mailbox.put(_Post(number, time.perf_counter()))
        # the last image has its period as the others have
        self.seconds = time.perf_counter() - started + 1 / self._rate

    def stop(self) -> None:
        """End it early, and wait for that."""
        self._stopped.set()
        self.join()


def post_images(
    segment: Callable[[], object], rate: float, seconds: float, name: str = ''
) -> RateRow:
    """Post images at ``rate`` Hz for so many seconds and segment the newest, on this thread.

    ``segment`` segments one image. An image that the next one replaces before it is taken is
    dropped.
    """
    count = max(2, round(rate * seconds))
    mailbox: Mailbox[_Post] = Mailbox()
    source = _ImageClock(mailbox, rate, count)
    latencies: list[float] = []
    began, busy = time.perf_counter(), time.process_time()
    source.start()
    try:
        # the last one is replaced by none, so it is always taken
        while posts := mailbox.take():
            (post,) = posts
            segment()
            latencies.append(1e3 * (time.perf_counter() - post.time))
            if post.number == count - 1:
                break
        busy, lasted = time.process_time() - busy, time.perf_counter() - began
    finally:
        source.stop()
    return RateRow(
        name=name,
        rate_hz=rate,
        posted_hz=count / source.seconds,
        posted=count,
        segmented=len(latencies),
        dropped=count - len(latencies),
        latency_ms=percentiles(latencies),
        cpu_load=busy / lasted,
    )
