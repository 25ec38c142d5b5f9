"""The graph and the node of ``test/ros``, under load and in trouble."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from diagnostic_msgs.msg import DiagnosticArray

from test.ros.conftest import (  # noqa: F401 - fixtures
    _loaded_once,
    _rclpy,
    active,
    graph,
    make_image,
    served,
    start,
    untrained,
)


@pytest.fixture
def diagnostics(graph: Any) -> Callable[[], dict[str, dict[str, str]]]:  # noqa: F811
    """Return a function that waits for the node's next diagnostics: values by camera."""

    def following() -> dict[str, dict[str, str]]:
        found = graph.collect(DiagnosticArray, '/diagnostics')
        graph.wait_for(lambda: found, 'diagnostics')
        return {s.name: {pair.key: pair.value for pair in s.values} for s in found[0].status}

    return following
