"""A process that has an engine in the cache, built if need be, and tells how it gets on.

``python -m lemore_core.inference.tensorrt.build_worker`` reads a
:class:`~lemore_core.inference.tensorrt.build_protocol.BuildRequest` from the first line of its standard input and
ends when that input does: with whoever started it, however that one ended. On its standard output
are lines of news, the last of which is the engine's key or a failure.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from lemore_core.errors import in_one_line
from lemore_core.inference.tensorrt.build_protocol import (
    BuildRequest,
    Failure,
    News,
    Progress,
    news_to_line,
)
from lemore_core.inference.tensorrt.engine_cache import EngineCache, EngineKey

NICENESS = 19
INTERVAL_S = 0.2
ORPHANED = 2


def main() -> int:
    """Build what is ordered; return the exit code."""
    news = NewsLine(_private_output())
    # a terminal's Ctrl-C is for who started this: standard input tells what comes of it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        order = BuildRequest.from_line(_first_line())
        if order.low_priority:
            _give_way()
        threading.Thread(target=_end_with_input, daemon=True).start()
        news.tell(_build(order, news))
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
        news.tell(Failure(in_one_line(error)))
        return 1
    return 0


class NewsLine:
    """Writes news to a file descriptor, progress not too often. It never raises."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._told_at = 0.0

    def report(self, phase: str, done: int, steps: int) -> None:
        """Tell progress: at once where it is without steps, else a few times a second."""
        now = time.monotonic()
        if steps and now - self._told_at < INTERVAL_S:
            return
        self._told_at = now
        self.tell(Progress(phase, done, steps))

    def tell(self, news: News) -> None:
        """Write a line."""
        try:
            os.write(self._output, news_to_line(news).encode())
        except OSError:
            # nobody listens any more; raising would go through TensorRT's threads
            os._exit(ORPHANED)


def _build(order: BuildRequest, news: NewsLine) -> EngineKey:
    news.report('loading libraries', 0, 0)
    from lemore_core.inference.tensorrt.planner import Target, plan

    request = order.request
    target = Target.find(request.device, order.compute_capability)
    news.report('exporting', 0, 0)
    planned = plan(request, target)
    planned.keep(EngineCache(request.engine_cache), news.report)
    return planned.key


def _private_output() -> int:
    """Keep standard output for the news: what libraries print goes to standard error."""
    private = os.dup(1)
    os.dup2(2, 1)
    return private


def _first_line() -> str:
    # unbuffered: the rest is read elsewhere
    with open(0, 'rb', buffering=0, closefd=False) as given:
        return given.readline().decode()


def _end_with_input() -> None:
    while os.read(0, 1024):
        pass
    os._exit(ORPHANED)


def _give_way() -> None:
    """Take what processor time is left over; so do threads that are started after this."""
    with suppress(OSError):  # where there is no such folder, or a sandbox forbids it
        # numpy has threads by now, and Linux has a priority for each
        for folder in Path('/proc/self/task').iterdir():
            thread = int(folder.name)
            os.setpriority(os.PRIO_PROCESS, thread, NICENESS)
            # the disk follows: Linux takes the idle class of I/O for who has this policy
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


if __name__ == '__main__':
    sys.exit(main())
