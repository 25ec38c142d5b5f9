"""Launch files started for real, in a DDS graph of their own for every test process.

ROS is imported late: where it is not installed, the test files skip themselves.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ['ROS_DOMAIN_ID'] = str(51 + os.getpid() % 50)  # tools take those below
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'

ROOT = Path(__file__).parents[2]
WAIT_S = 60

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

# writes how it was called beside itself, and ends unless it is asked to stay
STAND_IN = f"""#!{sys.executable}
import json, os, pathlib, sys, time
called = pathlib.Path(sys.argv[0]).with_suffix('.json')
part = called.with_suffix('.part')
part.write_text(json.dumps(dict(arguments=sys.argv[1:], environ=dict(os.environ))))
part.rename(called)
time.sleep(float(os.environ.get('STAND_IN_STAYS_S', '0')))
"""

Start = Callable[..., 'subprocess.Popen[str]']


class Peer:
    """A node that watches from outside."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor

        # other tests of this process have contexts of their own
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node('peer', context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """Spin until ``condition`` holds, and return what it gave."""
        deadline = time.monotonic() + WAIT_S
        while not (result := condition()):
            assert time.monotonic() < deadline, f'waited in vain for {what}'
            self._executor.spin_once(timeout_sec=0.05)
        return result

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """Return the answer of a service."""
        client = self.node.create_client(kind, service)
        asked: list[tuple[float, Any]] = []

        def answered() -> Any:
            # an answer that comes before this client is known to the node is lost
            if client.service_is_ready() and (not asked or time.monotonic() - asked[-1][0] > 1):
                asked.append((time.monotonic(), client.call_async(request)))
            return [future for _, future in asked if future.done()]

        return self.wait_for(answered, f'an answer of {service}')[0].result()

    def parameters(self, node: str, names: list[str]) -> dict[str, Any]:
        """Return the values of a node's parameters."""
        from rcl_interfaces.srv import GetParameters
        from rclpy.parameter import parameter_value_to_python

        request = GetParameters.Request(names=names)
        values = self.call(GetParameters, f'{node}/get_parameters', request).values
        return dict(zip(names, map(parameter_value_to_python, values), strict=True))

    def wait_until_active(self, node: str) -> None:
        """Wait until a lifecycle node is active."""
        from lifecycle_msgs.srv import GetState

        def active() -> bool:
            state = self.call(GetState, f'{node}/get_state', GetState.Request())
            return bool(state.current_state.label == 'active')

        self.wait_for(active, f'{node} to be active')

    def labels_of(self, image_topic: str, labels_topic: str) -> Any:
        """Publish images until there are labels, and return (image, labels)."""
        from sensor_msgs.msg import Image

        found: list[Image] = []
        listener = self.node.create_subscription(Image, labels_topic, found.append, 10)
        camera = self.node.create_publisher(Image, image_topic, 1)
        image = Image(height=30, width=40, step=120, encoding='bgr8', data=bytes(3600))
        image.header.frame_id = image_topic.strip('/').replace('/', '_')
        image.header.stamp.sec = 5

        def labelled() -> bool:
            camera.publish(image)
            return bool(found)

        self.wait_for(labelled, f'labels on {labels_topic}')
        self.node.destroy_publisher(camera)
        self.node.destroy_subscription(listener)
        return image, found[0]


@pytest.fixture
def peer() -> Iterator[Peer]:
    import rclpy

    peer = Peer()
    yield peer
    peer.node.destroy_node()
    rclpy.try_shutdown(context=peer.context)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Launch a file with arguments; what was launched is gone after the test."""
    running: list[subprocess.Popen[str]] = []
    paths = [str(ROOT), os.environ.get('PYTHONPATH', '')]
    environment = os.environ | {
        'PYTHONPATH': os.pathsep.join(path for path in paths if path),
        'ROS_LOG_DIR': str(tmp_path / 'log'),
        'OMP_NUM_THREADS': '1',
    }

    def start(
        file: str | Path, *, environ: dict[str, str] | None = None, **arguments: object
    ) -> subprocess.Popen[str]:
        path = ROOT / 'launch' / file
        given = [f'{name}:={value}' for name, value in arguments.items()]
        process = subprocess.Popen(
            [sys.executable, '-c', RUN, str(path), *given],
            env=environment | (environ or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def stop() -> Callable[[subprocess.Popen[str]], str]:
    """Return a function that interrupts a launch and returns its output."""

    def stop(process: subprocess.Popen[str]) -> str:
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=WAIT_S)
        assert 'process has finished cleanly' in output, output
        assert 'Traceback' not in output
        return output

    return stop


@pytest.fixture
def untrained(untrained_checkpoint: Path) -> dict[str, str]:
    """Arguments of a node that loads quickly."""
    return {'model': str(untrained_checkpoint), 'backend': 'torch', 'device': 'cpu'}


@pytest.fixture
def waiting(tmp_path: Path) -> dict[str, str]:
    """Arguments of a node that waits for a lifecycle manager."""
    path = tmp_path / 'waiting.yaml'
    path.write_text('/**: {ros__parameters: {autostart: false}}\n', encoding='utf-8')
    return {'params_file': str(path)}


class StandIns:
    """Programs named ros2 and rviz2 that write down how they are called."""

    def __init__(self, folder: Path) -> None:
        self._rviz2 = folder / 'prefix' / 'lib' / 'rviz2' / 'rviz2'
        self._ros2 = folder / 'bin' / 'ros2'
        index = folder / 'prefix' / 'share' / 'ament_index' / 'resource_index' / 'packages'
        index.mkdir(parents=True)
        (index / 'rviz2').touch()
        for program in (self._rviz2, self._ros2):
            program.parent.mkdir(parents=True)
            program.write_text(STAND_IN, encoding='utf-8')
            program.chmod(0o755)
        known = os.environ.get('AMENT_PREFIX_PATH', '')
        self.environ = {
            'PATH': os.pathsep.join([str(self._ros2.parent), os.environ['PATH']]),
            'AMENT_PREFIX_PATH': os.pathsep.join(filter(None, [str(folder / 'prefix'), known])),
        }

    def call_of(self, name: str) -> dict[str, Any] | None:
        """Return the arguments and the environment of a program's call, if there was one."""
        called = {'ros2': self._ros2, 'rviz2': self._rviz2}[name].with_suffix('.json')
        return dict(json.loads(called.read_text())) if called.exists() else None


@pytest.fixture
def stand_ins(tmp_path: Path) -> StandIns:
    return StandIns(tmp_path)
