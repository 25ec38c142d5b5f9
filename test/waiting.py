"""Waiting for what another thread or process does, and time that nobody waits for."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object]) -> None:
    """Return once the condition holds; fail after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Clock:
    """A clock that a test moves on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now
