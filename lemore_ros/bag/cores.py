"""The processors that the network may use beside the other steps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def leaving_a_core() -> Iterator[None]:
    """Load networks within the block as if the machine had a core less: the other steps need it.

    Backends choose their threads by the processors that they find when they load. A network on all
    of them would wait for its own threads as often as the other steps interrupt those.
    """
    if not hasattr(os, 'sched_setaffinity'):
        yield
        return
    usable = os.sched_getaffinity(0)
    if len(usable) > 1:
        os.sched_setaffinity(0, sorted(usable)[1:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)
