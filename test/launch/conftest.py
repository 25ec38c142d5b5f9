"""Launch files started for real, in the ROS graph of ``test/ros``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')
pytest.importorskip('launch_ros', reason='launch_ros is not installed')

from test.ros.conftest import (  # noqa: F401 - fixtures
    _loaded_once,
    _rclpy,
    graph,
    untrained,
)

ROOT = Path(__file__).parents[2]

# what ``ros2 launch FILE name:=value`` does, without the command line tools
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [argument.split(':=', 1) for argument in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
service = LaunchService()
include = IncludeLaunchDescription(source, launch_arguments=arguments)
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""

# writes how it was called beside itself, and ends once that file is gone
STAND_IN = f"""#!{sys.executable}
import json, os, pathlib, sys, time
called = pathlib.Path(sys.argv[0]).with_suffix('.json')
part = called.with_suffix('.part')
part.write_text(json.dumps(dict(arguments=sys.argv[1:], environ=dict(os.environ))))
part.rename(called)
end = time.monotonic() + 60
while called.exists() and time.monotonic() < end:
    time.sleep(0.05)
"""


@pytest.fixture
def start(
    tmp_path: Path, start_python: Callable[..., subprocess.Popen[str]]
) -> Callable[..., subprocess.Popen[str]]:
    """Launch a file with arguments; what was launched is gone after the test."""

    def start(
        file: str | Path, *, environ: dict[str, str] | None = None, **arguments: object
    ) -> subprocess.Popen[str]:
        given = [str(ROOT / 'launch' / file), *(f'{k}:={v}' for k, v in arguments.items())]
        variables = {'ROS_LOG_DIR': str(tmp_path / 'log'), **(environ or {})}
        return start_python('-c', RUN, *given, environ=variables, stderr=subprocess.STDOUT)

    return start


class StandIns:
    """Programs named ros2 and rviz2 that write down how they are called."""

    def __init__(self, folder: Path) -> None:
        self._programs = {
            'rviz2': folder / 'prefix' / 'lib' / 'rviz2' / 'rviz2',
            'ros2': folder / 'bin' / 'ros2',
        }
        index = folder / 'prefix' / 'share' / 'ament_index' / 'resource_index' / 'packages'
        index.mkdir(parents=True)
        (index / 'rviz2').touch()
        for program in self._programs.values():
            program.parent.mkdir(parents=True)
            program.write_text(STAND_IN, encoding='utf-8')
            program.chmod(0o755)
        known = os.environ.get('AMENT_PREFIX_PATH', '')
        self.environ = {
            'PATH': os.pathsep.join([str(folder / 'bin'), os.environ['PATH']]),
            'AMENT_PREFIX_PATH': os.pathsep.join(filter(None, [str(folder / 'prefix'), known])),
        }

    def call_of(self, name: str) -> dict[str, Any] | None:
        """Return the arguments and the environment of a program's call, if there was one."""
        called = self._programs[name].with_suffix('.json')
        return dict(json.loads(called.read_text())) if called.exists() else None

    def end(self, *names: str) -> None:
        """Let programs end that were called."""
        for name in names:
            self._programs[name].with_suffix('.json').unlink()


@pytest.fixture
def stand_ins(tmp_path: Path) -> StandIns:
    return StandIns(tmp_path)
