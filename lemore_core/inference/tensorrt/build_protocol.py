"""What the process that builds an engine is told, and what it tells: a line of JSON each."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lemore_core.inference.backend import BackendError, ServingRequest
from lemore_core.inference.tensorrt.engine_cache import EngineKey


@dataclass(frozen=True)
class BuildRequest:
    """An engine to have in the cache: for the GPU of ``request``, or for a compute capability.

    ``low_priority`` leaves the processors to whatever else wants them.
    """

    request: ServingRequest
    compute_capability: str | None = None
    low_priority: bool = True

    def to_line(self) -> str:
        """Return the order in a line."""
        values = dataclasses.asdict(self)
        return json.dumps(values, default=str) + '\n'

    @classmethod
    def from_line(cls, line: str) -> BuildRequest:
        """Read what :meth:`to_line` wrote.

        Raises:
            BackendError: it is no order, or one for what cannot be served.

        """
        try:
            values = json.loads(line)
            request = values.pop('request')
            path, cache = Path(request.pop('path')), request.pop('engine_cache')
            served = ServingRequest(path, engine_cache=cache and Path(cache), **request)
            return cls(served, **values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            msg = f'{line.strip()!r} is no order to build an engine: {error!r}'
            raise BackendError(msg) from error


@dataclass(frozen=True)
class Progress:
    """What a build does now: ``done`` of ``steps``, which are 0 where they are not known."""

    phase: str
    done: int = 0
    steps: int = 0

    def __str__(self) -> str:
        return f'{self.phase} {self.done} of {self.steps}' if self.steps else self.phase


@dataclass(frozen=True)
class Failure:
    """Why there is no engine."""

    reason: str


News = Progress | EngineKey | Failure


def news_to_line(news: News) -> str:
    """Return what a build tells, in a line; the key is that of the engine, which is there."""
    return json.dumps({_KINDS[type(news)]: dataclasses.asdict(news)}) + '\n'


def news_from_line(line: str) -> News:
    """Read what :func:`news_to_line` wrote.

    Raises:
        BackendError: it is something else.

    """
    try:
        ((kind, values),) = json.loads(line).items()
        news: News = _READERS[kind](values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        msg = f'{line.strip()!r} is nothing that a build tells: {error!r}'
        raise BackendError(msg) from error
    return news


_KINDS: dict[type, str] = {Progress: 'progress', EngineKey: 'key', Failure: 'failure'}
_READERS: dict[str, Any] = {
    'progress': lambda values: Progress(**values),
    'key': EngineKey.from_dict,
    'failure': lambda values: Failure(**values),
}
