"""What the distributions' rclpy call otherwise or lack; everything else takes it from here."""

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

from rclpy.executors import SingleThreadedExecutor

from lemore_core.common.errors import LemoreError

__all__ = [
    'ExecutorError',
    'SubscriptionEventCallbacks',
    'UnsupportedEventTypeError',
    'make_executor',
    'publisher_events',
]

EVENTS = 'events'


class ExecutorError(LemoreError):
    """An executor that this rclpy does not have."""


def make_executor(kind: str, context: Any) -> Any:
    """Return rclpy's single-threaded executor, or its ``EventsExecutor`` for kind ``events``.

    Raises:
        ExecutorError: rclpy has no such executor.
    """
    if kind != EVENTS:
        return SingleThreadedExecutor(context=context)
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError as error:  # Humble, and Jazzy before rclpy 7.1.5
        msg = "executor is 'events', and this rclpy has no EventsExecutor: set it to single"
        raise ExecutorError(msg) from error
    return EventsExecutor(context=context)


def publisher_events(
    matched: Callable[[Any], None], incompatible_qos: Callable[[Any], None]
) -> PublisherEventCallbacks:
    """Return the callbacks of a publisher.

    Humble does not tell when subscribers come and go: there they are counted once a second.
    """
    events = {'matched': matched, 'incompatible_qos': incompatible_qos}
    known = inspect.signature(PublisherEventCallbacks).parameters
    return PublisherEventCallbacks(**{name: events[name] for name in known if name in events})
