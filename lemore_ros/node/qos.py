"""QoS profiles and events of the node's topics; parameters of a topic may override its profile."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

try:
    from rclpy import event_handler
except ImportError:  # up to Humble, rclpy 3.3
    from rclpy import qos_event as event_handler

OUTPUT_DEPTH = 5
# packets that may wait while others are decoded
VIDEO_DEPTH = 60
OVERRIDABLE = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)


def newest() -> QoSProfile:
    """Images in: best effort accepts every publisher, only the newest counts."""
    return QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def every() -> QoSProfile:
    """Video in: best effort, deep queue; frames depend on earlier packets."""
    return QoSProfile(depth=VIDEO_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)


def output() -> QoSProfile:
    """Results out: reliable serves every subscriber."""
    return QoSProfile(depth=OUTPUT_DEPTH, reliability=ReliabilityPolicy.RELIABLE)


def latched() -> QoSProfile:
    """Tables out: published once, kept for later subscribers."""
    return QoSProfile(
        depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
    )


def overridable() -> QoSOverridingOptions:
    """Allow parameters ``qos_overrides.<topic>.<publisher|subscription>.<policy>``."""
    return QoSOverridingOptions(policy_kinds=OVERRIDABLE)


def with_events(create: Callable[..., Any], *, is_publisher: bool = False, **callbacks: Any) -> Any:
    """Create a subscription or publisher with the event callbacks that this rclpy has."""
    kind = event_handler.SubscriptionEventCallbacks
    if is_publisher:
        kind = event_handler.PublisherEventCallbacks
    known = inspect.signature(kind).parameters
    try:
        events = kind(**{name: callbacks[name] for name in callbacks if name in known})
        return create(event_callbacks=events)
    except event_handler.UnsupportedEventTypeError:
        return create()
