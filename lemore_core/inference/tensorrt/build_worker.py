"""A process that has an engine in the cache, built if need be, and answers with its key."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lemore_core.inference.backend import BackendError
from lemore_core.inference.tensorrt.build_client import BuildRequest
from lemore_core.inference.tensorrt.engine_cache import EngineCache
from lemore_core.system.json_child import Answer, serve_parent
from lemore_core.validation import from_mapping

NICENESS = 19


def _build(order: Mapping[str, Any], answer: Answer) -> None:
    wanted = from_mapping(BuildRequest, order, 'an order to build an engine', BackendError)
    if wanted.low_priority:
        _lower_priority()
    from lemore_core.inference.tensorrt.engine_spec import BuildTarget, find_spec

    request = wanted.request
    spec = find_spec(request, BuildTarget.find(request.device, wanted.compute_capability))
    spec.ensure(EngineCache(request.engine_cache))
    answer(**spec.key.to_dict())


def _lower_priority() -> None:
    """Take what processor time is left over; so do threads that are started after this."""
    with suppress(OSError):  # where there is no such folder, or a sandbox forbids it
        # numpy has threads by now, and Linux has a priority for each
        for folder in Path('/proc/self/task').iterdir():
            thread = int(folder.name)
            os.setpriority(os.PRIO_PROCESS, thread, NICENESS)
            # the disk follows: Linux takes the idle class of I/O for who has this policy
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


if __name__ == '__main__':
    sys.exit(serve_parent(_build))
