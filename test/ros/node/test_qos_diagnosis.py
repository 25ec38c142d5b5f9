from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import rclpy
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from lemore_ros.node.qos import latched
from lemore_ros.node.qos_diagnosis import Subscription, why_no_images
from lemore_ros.outputs import TRANSPORTS

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = latched()
HASTY = QoSProfile(depth=1, deadline=Duration(seconds=0.1))
TOPIC = '/front/image'


@pytest.fixture
def node(graph: Any) -> Iterator[Any]:
    node = rclpy.create_node('listener')
    graph.executor.add_node(node)
    yield node
    node.destroy_node()


def reason(
    graph: Any,
    node: Any,
    qos: QoSProfile,
    publishers: int = 1,
    *,
    heard: bool = False,
    lost: int = 0,
) -> str:
    graph.wait_for(lambda: node.count_publishers(TOPIC) == publishers, 'the publishers')
    subscription = Subscription(TOPIC, TRANSPORTS['raw'], qos)
    return why_no_images(node, subscription, heard=heard, lost=lost)


def test_a_promise_that_the_publisher_does_not_make_is_named(graph: Any, node: Any) -> None:
    graph.peer.create_publisher(Image, TOPIC, BEST_EFFORT)
    assert reason(graph, node, RELIABLE) == (
        'publisher /peer offers best effort, volatile, this node asks for reliable, volatile '
        '(reliability): set the parameter qos_overrides./front/image.subscription.reliability to best_effort'
    )
    assert 'is connected, and no image of it came yet' in reason(graph, node, BEST_EFFORT)


def test_a_silent_publisher_is_not_one_whose_messages_get_lost(graph: Any, node: Any) -> None:
    assert reason(graph, node, BEST_EFFORT, 0, heard=True).startswith('nobody publishes it')
    graph.peer.create_publisher(Image, TOPIC, BEST_EFFORT)
    assert reason(graph, node, BEST_EFFORT, heard=True) == (
        'publisher /peer is silent: it is connected, and its images came until then'
    )
    assert reason(graph, node, BEST_EFFORT, heard=True, lost=2) == (
        'messages of publisher /peer get lost: large images need the profile '
        'config/dds/fastdds_shared_memory.xml at both ends'
    )
    graph.peer.create_publisher(CompressedImage, f'{TOPIC}/compressed', RELIABLE)
    graph.wait_for(lambda: node.count_publishers(f'{TOPIC}/compressed'))
    assert reason(graph, node, BEST_EFFORT) == (
        'publisher /peer is connected, and no image of it came yet; publisher /peer sends '
        f'sensor_msgs/msg/CompressedImage on {TOPIC}/compressed: set image_transport to compressed'
    )


def test_other_policies_are_named(graph: Any, node: Any) -> None:
    graph.peer.create_publisher(Image, TOPIC, RELIABLE)
    assert '(durability): set' in reason(graph, node, LATCHED)
    assert '(deadline, liveliness or lease duration)' in reason(graph, node, HASTY)
    assert 'is connected' in reason(graph, node, RELIABLE)


def test_a_topic_that_nobody_publishes_has_neighbours(graph: Any, node: Any) -> None:
    node.create_publisher(Image, '/mine', RELIABLE)
    graph.peer.create_publisher(Image, '/another_camera', RELIABLE)
    node.create_subscription(Image, '/another_camera', print, RELIABLE)
    wanted = 'nobody publishes it (sensor_msgs/msg/Image)'
    assert reason(graph, node, RELIABLE, 0) == f'{wanted}, and no other topic has such messages'
    for topic in 'dbac':
        graph.peer.create_publisher(Image, f'/camera/{topic}', RELIABLE)
    graph.wait_for(lambda: node.count_publishers('/camera/c'), 'the neighbours')
    assert reason(graph, node, RELIABLE, 0) == (
        f'{wanted}; such messages are on /camera/a, /camera/b, /camera/c and more: remap this one'
    )


def test_another_type_is_named(graph: Any, node: Any) -> None:
    graph.peer.create_publisher(CompressedImage, TOPIC, RELIABLE)
    found = reason(graph, node, RELIABLE)
    assert found.startswith('publisher /peer sends sensor_msgs/msg/CompressedImage, this node asks')
    assert found.endswith(
        f'set image_transport to compressed, and remap image/compressed to {TOPIC}'
    )
