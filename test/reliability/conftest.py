"""The graph and the node of ``test/ros``, under load and in trouble."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from test.ros.conftest import (  # noqa: F401 - fixtures
    _loaded_once,
    _rclpy,
    active,
    graph,
    served,
    start,
    untrained,
)
