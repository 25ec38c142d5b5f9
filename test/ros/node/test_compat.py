"""The node with what Humble's rclpy has, whose sources are at ros2/rclpy, branch humble."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from rclpy import event_handler
from sensor_msgs.msg import Image

from lemore_ros.node import compat, publishers

NAME = '/lemore_segmentation'


class PublisherEventCallbacks(event_handler.PublisherEventCallbacks):  # type: ignore[misc]
    """The arguments of rclpy/qos_event.py of 3.3."""

    def __init__(
        self,
        *,
        deadline: Any = None,
        liveliness: Any = None,
        incompatible_qos: Any = None,
        use_default_callbacks: bool = True,
    ) -> None:
        super().__init__(
            deadline=deadline,
            liveliness=liveliness,
            incompatible_qos=incompatible_qos,
            use_default_callbacks=use_default_callbacks,
        )


@pytest.fixture
def humble(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide rclpy.event_handler, as it is called since Iron."""
    qos_event = ModuleType('rclpy.qos_event')
    vars(qos_event).update(
        PublisherEventCallbacks=PublisherEventCallbacks,
        SubscriptionEventCallbacks=event_handler.SubscriptionEventCallbacks,
        UnsupportedEventTypeError=event_handler.UnsupportedEventTypeError,
    )
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, 'rclpy.event_handler', None)
        patch.setitem(sys.modules, 'rclpy.qos_event', qos_event)
        importlib.reload(compat)
    monkeypatch.setattr(publishers, 'publisher_events', compat.publisher_events)
    yield
    importlib.reload(compat)


@pytest.mark.usefixtures('humble')
def test_subscribers_are_found_without_events_of_them(
    graph: Any, untrained: dict[str, Any], make_image: Callable[..., Image]
) -> None:
    assert compat.PublisherEventCallbacks is PublisherEventCallbacks
    node = graph.node(**untrained)
    assert node.start()
    camera = graph.peer.create_publisher(Image, '/image', 5)
    assert not camera.get_subscription_count(), 'nobody listens: no image is taken in'
    labels = graph.collect(Image, f'{NAME}/labels')
    graph.wait_for(camera.get_subscription_count, 'the node to listen')
    graph.labels_of(camera, make_image(1), labels)
