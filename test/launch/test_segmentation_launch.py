"""The launch file, started for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ['ROS_DOMAIN_ID'] = str(os.getpid() % 100 + 1)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'

pytest.importorskip('rclpy', reason='ROS 2 is not installed')
pytest.importorskip('launch_ros', reason='launch_ros is not installed')

import rclpy
from rcl_interfaces.srv import GetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import parameter_value_to_python
from sensor_msgs.msg import Image

from lemore_ros.share import share_directory

ROOT = Path(__file__).parents[2]
LAUNCH_FILE = ROOT / 'launch' / 'segmentation.launch.py'
PROFILE = share_directory() / 'config' / 'dds' / 'fastdds_shared_memory.xml'
VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
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

Start = Callable[..., 'subprocess.Popen[str]']


class Peer:
    """A node that watches from outside."""

    def __init__(self) -> None:
        # other tests of this process have contexts of their own
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node('peer', context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + WAIT_S
        while not (result := condition()):
            assert time.monotonic() < deadline, f'waited in vain for {what}'
            self._executor.spin_once(timeout_sec=0.05)
        return result

    def parameters(self, node: str, names: list[str]) -> dict[str, Any]:
        client = self.node.create_client(GetParameters, f'{node}/get_parameters')
        request = GetParameters.Request(names=names)
        asked: list[tuple[float, Any]] = []

        def answered() -> Any:
            # an answer that comes before this client is known to the node is lost
            if client.service_is_ready() and (not asked or time.monotonic() - asked[-1][0] > 1):
                asked.append((time.monotonic(), client.call_async(request)))
            return [future for _, future in asked if future.done()]

        values = self.wait_for(answered, f'the parameters of {node}')[0].result().values
        return dict(zip(names, map(parameter_value_to_python, values), strict=True))


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.node.destroy_node()
    rclpy.try_shutdown(context=peer.context)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Launch with arguments; what was launched is gone after the test."""
    running: list[subprocess.Popen[str]] = []
    paths = [str(ROOT), os.environ.get('PYTHONPATH', '')]
    environment = os.environ | {
        'PYTHONPATH': os.pathsep.join(path for path in paths if path),
        'ROS_LOG_DIR': str(tmp_path / 'log'),
    }

    def start(
        *options: str, environ: dict[str, str] | None = None, **arguments: object
    ) -> subprocess.Popen[str]:
        given = [f'{name}:={value}' for name, value in arguments.items()]
        process = subprocess.Popen(
            [sys.executable, '-c', RUN, str(LAUNCH_FILE), *options, *given],
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
def params_file(tmp_path: Path, untrained_checkpoint: Path) -> Path:
    path = tmp_path / 'mine.yaml'
    path.write_text(
        '/front/lemore_segmentation:\n'
        '  ros__parameters:\n'
        f'    model: {untrained_checkpoint}\n'
        '    backend: torch\n'
        '    device: cpu\n'
        '    overlay_alpha: 0.25\n'
        '    lazy: false\n',
        encoding='utf-8',
    )
    return path


def test_labels_come_out_and_it_ends_in_good_order(
    start: Start, peer: Peer, params_file: Path
) -> None:
    process = start(
        params_file=params_file, namespace='front', image_topic='/camera/image', overlay_alpha=1
    )
    labels: list[Image] = []
    peer.node.create_subscription(Image, '/front/lemore_segmentation/labels', labels.append, 10)
    camera = peer.node.create_publisher(Image, '/camera/image', 1)
    image = Image(height=30, width=40, step=120, encoding='bgr8', data=bytes(3600))
    image.header.frame_id = 'front_camera'
    image.header.stamp.sec = 5

    def labelled() -> bool:
        camera.publish(image)
        return bool(labels)

    peer.wait_for(labelled, 'labels')
    assert (labels[0].height, labels[0].width) == (30, 40)
    assert labels[0].header == image.header

    names = ['overlay_alpha', 'lazy', 'backend', 'use_sim_time', 'dataset']
    found = peer.parameters('/front/lemore_segmentation', names)
    assert found == {
        'overlay_alpha': 1.0,  # the argument wins over the file
        'lazy': False,  # the file wins over the default
        'backend': 'torch',
        'use_sim_time': False,
        'dataset': '',
    }

    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=WAIT_S)
    assert 'process has finished cleanly' in output, output
    assert 'Traceback' not in output


def test_without_autostart_the_node_waits_for_a_manager(start: Start, peer: Peer) -> None:
    process = start(autostart='false', use_sim_time='true')
    found = peer.parameters('/lemore_segmentation', ['autostart', 'use_sim_time', 'model'])
    assert found == {'autostart': False, 'use_sim_time': True, 'model': 'tiny'}
    assert peer.node.count_publishers('/lemore_segmentation/labels') == 0
    environment = _environment_of_the_node(process.pid)
    assert {environment[variable] for variable in VARIABLES} == {str(PROFILE)}


def test_a_profile_of_the_user_stays(start: Start, peer: Peer, tmp_path: Path) -> None:
    mine = tmp_path / 'mine.xml'
    mine.write_bytes(PROFILE.read_bytes())
    process = start(autostart='false', environ={VARIABLES[0]: str(mine)})
    peer.parameters('/lemore_segmentation', ['model'])
    environment = _environment_of_the_node(process.pid)
    assert environment[VARIABLES[0]] == str(mine)
    assert VARIABLES[1] not in environment


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ({'overlay_alpha': 'half'}, "overlay_alpha is 'half' (string, not number), allowed: 0.0"),
        ({'backend': 'caffe'}, "backend is 'caffe', allowed: auto, onnxruntime, torch"),
        ({'params_file': '/nowhere/mine.yaml'}, 'params_file is /nowhere/mine.yaml: there is no'),
    ],
)
def test_a_wrong_argument_is_named(start: Start, arguments: dict[str, str], expected: str) -> None:
    process = start(**arguments)
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert expected in output


def _environment_of_the_node(launcher: int) -> dict[str, str]:
    children = Path(f'/proc/{launcher}/task/{launcher}/children').read_text(encoding='ascii')
    raw = Path(f'/proc/{children.split()[0]}/environ').read_bytes().decode()
    return dict(entry.split('=', 1) for entry in raw.split('\0') if '=' in entry)
