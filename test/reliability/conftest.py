"""The graph and the node of ``test/ros``, under load and in trouble."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

# tests are no package that could be imported from
_spec = spec_from_file_location('ros_fixtures', Path(__file__).parents[1] / 'ros' / 'conftest.py')
assert _spec is not None
assert _spec.loader is not None
_ros = module_from_spec(_spec)
_spec.loader.exec_module(_ros)

_loaded_once = _ros._loaded_once
_rclpy = _ros._rclpy
active = _ros.active
graph = _ros.graph
make_image = _ros.make_image
served = _ros.served
start = _ros.start
untrained = _ros.untrained
