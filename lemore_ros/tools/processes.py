"""Start a node as another process, in a ROS graph of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lemore_core.common.child import Child, ChildError

NODE = '/lemore_segmentation'
# the first start on a machine compiles, on a busy one slowly
START_S = 120.0


def isolated_graph() -> dict[str, str]:
    """Return the variables that separate processes from every other ROS graph."""
    return {
        # domains above 101 share their ports with what Linux gives to any socket
        'ROS_DOMAIN_ID': str(1 + os.getpid() % 50),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }


def start_node(
    parameters: Mapping[str, object],
    log: Path,
    environment: Mapping[str, str],
    *,
    image_topic: str = '/image',
) -> Child:
    """Start the segmentation node; the caller waits until it publishes."""
    arguments = ['--ros-args', '-r', f'image:={image_topic}']
    for name, value in parameters.items():
        arguments += ['-p', f'{name}:={value}']
    module = 'lemore_ros.node.segmentation_node'
    return Child(module, arguments=arguments, log=log, environment=environment)


def wait_until(
    condition: Callable[[], object],
    what: str,
    child: Child,
    *,
    timeout_s: float = START_S,
    spin: Callable[[float], object] = time.sleep,
) -> None:
    """Wait for a condition while the child runs; ``spin`` is called with the seconds to wait.

    Raises:
        ChildError: the child failed, or the time is up.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        child.check()
        if time.monotonic() > deadline:
            msg = f'{what}: not within {timeout_s:.0f} s, see {child.log}'
            raise ChildError(msg)
        spin(0.02)


def node_values(message: Any) -> dict[str, str]:
    """Return the values in a ``DiagnosticArray`` of the node's first camera, empty if it has none."""
    for status in message.status:
        if status.name.startswith(NODE[1:]):
            return {pair.key: pair.value for pair in status.values}
    return {}
