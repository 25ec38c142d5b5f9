"""What the rclpy of ROS 2 Humble calls otherwise or lacks; everything else takes it from here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

try:
    from rclpy.event_handler import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )
except ModuleNotFoundError:  # up to Humble, rclpy 3.3
    from rclpy.qos_event import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )

__all__ = ['SubscriptionEventCallbacks', 'UnsupportedEventTypeError', 'publisher_events']


def publisher_events(
    matched: Callable[[Any], None], incompatible_qos: Callable[[Any], None]
) -> PublisherEventCallbacks:
    """Return the callbacks of a publisher.

    Humble does not tell when subscribers come and go: there they are counted once a second.
    """
    events = {'matched': matched, 'incompatible_qos': incompatible_qos}
    known = inspect.signature(PublisherEventCallbacks).parameters
    return PublisherEventCallbacks(**{name: events[name] for name in known if name in events})
