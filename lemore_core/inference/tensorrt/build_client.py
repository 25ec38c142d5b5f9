"""The process that builds an engine, from the side of who waits for it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lemore_core.inference.backend import ServingRequest
from lemore_core.inference.tensorrt.engine_cache import EngineKey
from lemore_core.system.json_child import JsonChild

MODULE = 'lemore_core.inference.tensorrt.build_worker'


@dataclass(frozen=True)
class BuildRequest:
    """An engine to have in the cache: for the GPU of ``request``, or for a compute capability.

    ``low_priority`` leaves the processors to whatever else wants them.
    """

    request: ServingRequest
    compute_capability: str | None = None
    low_priority: bool = True

    def start(self) -> JsonChild:
        """Start the build, see :func:`wait_for_engine`.

        Raises:
            OSError: no process can be started.

        """
        return JsonChild(MODULE, dataclasses.asdict(self))


def wait_for_engine(build: JsonChild) -> EngineKey:
    """Wait until the engine is in the cache, and return its key.

    Raises:
        ChildError: there is no engine, for the reason given.

    """
    (answer,) = build
    return EngineKey.from_dict(answer)
