"""How far TensorRT is with an engine, as it tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lemore_core.inference.tensorrt.libraries import Library

# a phase, the steps of it that are done, and how many it has: 0 where that is not known
Report = Callable[[str, int, int], None]


def unheard(_phase: str, _done: int, _steps: int) -> None:
    """Report to nobody."""


def monitor_of(library: Library, report: Report) -> Any:
    """Return the ``IProgressMonitor`` that passes on to ``report``; None where there is none.

    ``report`` may be called from threads of TensorRT, and must not raise.
    """
    if not hasattr(library.api, 'IProgressMonitor'):
        return None

    class Monitor(library.api.IProgressMonitor):  # type: ignore[misc, name-defined]
        """Phases lie within each other: told is the one in which something happened last."""

        def __init__(self) -> None:
            super().__init__()
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, _parent: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            report(phase_name, 0, num_steps)

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            report(phase_name, step + 1, self._steps.get(phase_name, 0))
            return True  # go on

    return Monitor()
