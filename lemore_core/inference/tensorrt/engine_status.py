"""How far an engine is on its way to serve."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum


class EnginePhase(Enum):
    """How far the engine is; each is the first word of ``Status.engine``."""

    WAITING = 'waiting'
    BUILDING = 'building'
    LOADING = 'loading'
    CHECKING = 'checking'
    SERVING = 'serving'
    REJECTED = 'rejected'
    FAILED = 'failed'


@dataclass(frozen=True)
class EngineStatus:
    """A state with what there is to say of it, and when it began."""

    state: EnginePhase
    detail: str = ''
    since: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        if self.state is EnginePhase.BUILDING:
            return f'building {time.monotonic() - self.since:.0f} s'
        if self.gave_up:
            return f'{self.state.value}: {self.detail}'
        return f'{self.state.value} {self.detail}'.rstrip()

    @property
    def gave_up(self) -> bool:
        """Whether there will be no engine."""
        return self.state in (EnginePhase.REJECTED, EnginePhase.FAILED)
