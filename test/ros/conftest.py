"""A ROS graph of its own for every test process: no robot or other test hears it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from test.domain import DOMAIN

os.environ['ROS_DOMAIN_ID'] = str(DOMAIN)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from lemore_core.inference import torch_backend
from lemore_core.segmenter import Segmenter
from lemore_ros.node.segmentation_node import SegmentationNode
from test.ros.interfaces import make_importable, why_not

ROOT = Path(__file__).parents[2]
NAME = '/lemore_segmentation'
TIMEOUT_S = 60.0
FRAME_S = 0.03


class Graph:
    """A peer node, and the nodes under test, all spun by whoever waits for something."""

    def __init__(self, untrained: dict[str, Any]) -> None:
        self.untrained = untrained
        self.executor = SingleThreadedExecutor()
        self.peer = rclpy.create_node('peer')
        self.executor.add_node(self.peer)
        self.nodes: list[SegmentationNode] = []

    def wait_for(self, condition: Callable[[], Any], what: str = '') -> Any:
        """Spin until ``condition`` holds, and return what it gave."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (result := condition()):
            assert time.monotonic() < deadline, f'waited in vain for {what or condition}'
            self.executor.spin_once(timeout_sec=0.02)
        return result

    def node(self, **values: Any) -> SegmentationNode:
        """Return a node with these parameters, unconfigured."""
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = SegmentationNode(parameter_overrides=overrides)
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def start(self, **values: Any) -> SegmentationNode:
        """Return a node of the untrained network that takes images."""
        node = self.node(**self.untrained | values)
        assert node.start()
        return node

    @staticmethod
    def image(stamp: int, *, size: tuple[int, int] = (60, 80), frame_id: str = 'cam') -> Image:
        """Return a camera message, each of its own noise and stamp."""
        height, width = size
        pixels = np.random.default_rng(stamp).integers(0, 256, (height, width, 3), np.uint8)
        message = Image(height=height, width=width, step=3 * width, encoding='bgr8')
        message.data = pixels.tobytes()
        message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, stamp
        message.header.frame_id = frame_id
        return message

    def publisher(
        self, topic: str = '/image', kind: type = Image, qos: QoSProfile | None = None
    ) -> Any:
        """Return a camera, once something subscribes to it."""
        publisher = self.peer.create_publisher(kind, topic, qos or reliable())
        self.wait_for(publisher.get_subscription_count, f'a subscription to {topic}')
        return publisher

    def collect(self, kind: type, topic: str, qos: QoSProfile | None = None) -> list[Any]:
        """Return a list that grows with the messages of a topic, once its publishers are matched."""
        messages: list[Any] = []
        profile = qos or reliable()
        subscription = self.peer.create_subscription(kind, topic, messages.append, profile)
        # every node here has one of /rosout, the peer as well
        least = len(self.nodes) + 1 if topic == '/rosout' else 1
        self.wait_for(lambda: subscription.get_publisher_count() >= least, f'publishers of {topic}')
        return messages

    def labels(self) -> list[Image]:
        """Return a list that grows with the label images."""
        return self.collect(Image, f'{NAME}/labels')

    def log(self) -> list[Log]:
        """Return a list that grows with what is logged."""
        return self.collect(Log, '/rosout')

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """Return the answer of a service."""
        client = self.peer.create_client(kind, service)
        self.wait_for(client.service_is_ready, service)
        future = client.call_async(request)
        self.wait_for(future.done, f'an answer of {service}')
        self.peer.destroy_client(client)
        return future.result()

    def change(self, transition: int) -> bool:
        """Ask the node for a transition; return whether it went well."""
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, f'{NAME}/change_state', request).success)

    def set(self, **values: Any) -> Any:
        """Set parameters of the node, one after the other; return the results."""
        entries = [Parameter(name, value=value) for name, value in values.items()]
        request = SetParameters.Request(parameters=[one.to_parameter_msg() for one in entries])
        return self.call(SetParameters, f'{NAME}/set_parameters', request).results

    def state(self, name: str = NAME) -> str:
        """Return the lifecycle state of a node, of this process or another."""
        client = self.peer.create_client(GetState, f'{name}/get_state')
        asked: list[tuple[float, Any]] = []

        def answered() -> Any:
            # an answer that comes before the client is known to the other process is lost
            if client.service_is_ready() and (not asked or time.monotonic() - asked[-1][0] > 1):
                asked.append((time.monotonic(), client.call_async(GetState.Request())))
            return [future for _, future in asked if future.done()]

        future = self.wait_for(answered, f'the state of {name}')[0]
        self.peer.destroy_client(client)
        return str(future.result().current_state.label)

    def film(
        self, camera: Any, message: Image, condition: Callable[[], Any], what: str = ''
    ) -> Any:
        """Publish an image with a camera's pauses until ``condition`` holds; return its value."""
        published = 0.0

        def filmed() -> Any:
            nonlocal published
            if time.monotonic() - published > FRAME_S:
                published = time.monotonic()
                camera.publish(message)
            return condition()

        return self.wait_for(filmed, what)

    def labels_of(self, camera: Any, message: Image, labels: list[Any]) -> Image:
        """Publish an image and return the label image with its stamp."""
        camera.publish(message)

        def found() -> Any:
            return [m for m in labels if m.header.stamp == message.header.stamp]

        return self.wait_for(found, f'labels of {message.header.stamp}')[0]

    def close(self) -> None:
        while self.nodes:
            self.nodes.pop().close()
        self.peer.destroy_node()
        self.executor.shutdown()


def reliable(depth: int = 50) -> QoSProfile:
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)


@pytest.fixture(scope='session', autouse=True)
def _interfaces() -> None:
    """Have the message packages that no wheel brings, in this process and those it starts."""
    if not why_not():
        folder = str(make_importable())
        sys.path.append(folder)
        os.environ['PYTHONPATH'] = os.pathsep.join([os.environ.get('PYTHONPATH', ''), folder])


@pytest.fixture(scope='session')
def _rclpy() -> Iterator[None]:
    # test/reliability has this fixture as well
    if not rclpy.ok():
        rclpy.init()
    # what is loaded by now stays: looking through it at every collection takes longer than a test
    gc.collect()
    gc.freeze()
    yield
    rclpy.try_shutdown()
    gc.unfreeze()


@pytest.fixture(scope='session')
def _loaded_once() -> Iterator[None]:
    """Reading and folding a checkpoint is most of what a node's start takes: once for a size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_backend, 'load_graph', lru_cache(torch_backend.load_graph))
        yield


@pytest.fixture
def graph(_rclpy: None, _loaded_once: None, untrained: dict[str, Any]) -> Iterator[Graph]:
    # a node that is not collected keeps its name's place on /rosout from the next one; pytest held
    # that of the test before until now
    gc.collect()
    graph = Graph(untrained)
    yield graph
    graph.close()


@pytest.fixture
def active(graph: Graph) -> SegmentationNode:
    """A node that takes images and has its usual parameters."""
    return graph.start()


@pytest.fixture
def start(
    served: dict[str, Any], start_python: Callable[..., subprocess.Popen[str]]
) -> Callable[..., subprocess.Popen[str]]:
    """Start the node with parameters as a process of its own; it is gone after the test."""

    def start(
        *,
        program: Sequence[str] = ('-m', 'lemore_ros.node.segmentation_node'),
        name: str = NAME[1:],
        **values: Any,
    ) -> subprocess.Popen[str]:
        arguments = [*program, '--ros-args', '-r', f'__node:={name}']
        for parameter, value in (served | values).items():
            arguments += ['-p', f'{parameter}:={value}']
        return start_python(*arguments, stderr=subprocess.STDOUT)

    return start


@pytest.fixture(scope='session')
def reference(untrained_checkpoint: Path) -> Segmenter:
    """The Segmenter of the nodes under test, called without a node."""
    return Segmenter.load(untrained_checkpoint, backend='torch', device='cpu')


@pytest.fixture
def untrained(untrained_checkpoint: Path) -> dict[str, Any]:
    """Parameters of a node that loads quickly."""
    return {'model': str(untrained_checkpoint), 'backend': 'torch', 'device': 'cpu'}


@pytest.fixture
def served(exported: Path) -> dict[str, Any]:
    """Parameters of a node that loads quickly in a process of its own, without PyTorch."""
    return {'model': str(exported), 'backend': 'onnxruntime', 'device': 'cpu'}
