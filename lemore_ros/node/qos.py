"""Quality of service of the node's topics; each may be overridden by parameters of its topic."""

from __future__ import annotations

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

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
    """For images in: best effort accepts every publisher, and only the newest counts."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
    )


def every() -> QoSProfile:
    """For video in: best effort likewise, but an image is made of those before it."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=VIDEO_DEPTH,
        reliability=ReliabilityPolicy.BEST_EFFORT,
    )


def output() -> QoSProfile:
    """For what is published: reliable serves every subscriber."""
    return QoSProfile(depth=OUTPUT_DEPTH, reliability=ReliabilityPolicy.RELIABLE)


def latched() -> QoSProfile:
    """For what is published once and read by whoever comes later."""
    return QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def overridable() -> QoSOverridingOptions:
    """Let parameters ``qos_overrides.<topic>.<publisher|subscription>.<policy>`` decide."""
    return QoSOverridingOptions(policy_kinds=OVERRIDABLE)
