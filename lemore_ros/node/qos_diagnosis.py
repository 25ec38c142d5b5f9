"""Explain why the messages of a topic do not arrive: both ends by name, and the remedy."""

from __future__ import annotations

from typing import Any, NamedTuple

from rclpy.duration import Duration, Infinite
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.utilities import get_rmw_implementation_identifier

from lemore_core.common.errors import printable
from lemore_ros.messages.common import message_class
from lemore_ros.outputs import BY_TYPE, TRANSPORTS, Transport
from lemore_ros.share import profile_advice

NAMED_AT_MOST = 3
LONGEST = 256  # characters of a name; those that ROS makes are shorter
NAMED = ('reliability', 'durability')
LARGE_IMAGES = profile_advice(get_rmw_implementation_identifier())


class Subscription(NamedTuple):
    """Resolved topic, message type and QoS of a subscription; ``is_auto`` if others are tried too."""

    topic: str
    kind: str
    qos: QoSProfile
    is_auto: bool = False


def why_no_images(node: Any, subscription: Subscription, *, heard: bool, lost: int) -> str:
    """Return why nothing arrives; ``heard``: images came before, ``lost``: reported losses."""
    publishers = node.get_publishers_info_by_topic(subscription.topic)
    if not publishers:
        another = _another_transport(node, subscription)
        return f'nobody publishes it, {another}' if another else _nobody(node, subscription)
    fitting = [info for info in publishers if info.topic_type == subscription.kind]
    if not fitting:
        return _another_type(publishers[0], subscription)
    for info in fitting:
        if reason := _incompatible(info.qos_profile, subscription.qos):
            return (
                f'publisher {_name(info)} offers {_shown(info.qos_profile)}, this node asks '
                f'for {_shown(subscription.qos)} ({reason}): set the parameter '
                f'qos_overrides.{subscription.topic}.subscription.{_policy(reason, info.qos_profile)}'
            )
    names = ', '.join(sorted({_name(info) for info in fitting}))
    if lost:
        return f'messages of publisher {names} get lost: {LARGE_IMAGES}'
    if heard:
        return f'publisher {names} is silent: it is connected, and its images came until then'
    reason = f'publisher {names} is connected, and no image of it came yet'
    another = '' if subscription.is_auto else _another_transport(node, subscription)
    advice = f'If it does publish (ros2 topic hz {subscription.topic}), {LARGE_IMAGES}'
    return f'{reason}; {another}' if another else f'{reason}. {advice}'


def why_not_received(node: Any, topic: str, offered: QoSProfile) -> str:
    """Return which subscriptions of a topic do not fit what ``node`` offers; empty if all do."""
    for info in node.get_subscriptions_info_by_topic(topic):
        if reason := _incompatible(offered, info.qos_profile):
            return (
                f'subscriber {_name(info)} asks for {_shown(info.qos_profile)}, this node offers '
                f'{_shown(offered)} ({reason}): set the parameter '
                f'qos_overrides.{topic}.publisher.{_policy(reason, info.qos_profile)}'
            )
    return ''


def _another_transport(node: Any, subscription: Subscription) -> str:
    """Name a publisher of the same images by another transport."""
    own = BY_TYPE.get(subscription.kind)
    if own is None:
        return ''
    base = subscription.topic.removesuffix(own.suffix)
    for other in TRANSPORTS.values():
        topic = f'{base}{other.suffix}'
        for info in node.get_publishers_info_by_topic(topic):
            if other is not own and info.topic_type == other.type:
                return f'publisher {_name(info)} sends {other.type} on {topic}: {_remedy(other)}'
    return ''


def _remedy(transport: Transport) -> str:
    if message_class(transport.type) is None:
        return f'install {transport.package}, with image_transport {transport.name} or auto'
    return f'set image_transport to {transport.name}'


def _nobody(node: Any, subscription: Subscription) -> str:
    named = node.get_topic_names_and_types()
    topics = sorted(name for name, kinds in named if subscription.kind in kinds)
    topics = [name for name in topics if _is_foreign(node, name)]
    reason = f'nobody publishes it ({subscription.kind})'
    if not topics:
        return f'{reason}, and no other topic has such messages'
    shown = ', '.join(printable(name, LONGEST) for name in topics[:NAMED_AT_MOST]) + ' and more' * (
        len(topics) > NAMED_AT_MOST
    )
    return f'{reason}; such messages are on {shown}: remap this one'


def _is_foreign(node: Any, topic: str) -> bool:
    own = node.get_name(), node.get_namespace()
    infos = node.get_publishers_info_by_topic(topic)
    return any((info.node_name, info.node_namespace) != own for info in infos)


def _another_type(info: Any, subscription: Subscription) -> str:
    reason = (
        f'publisher {_name(info)} sends {printable(info.topic_type, LONGEST)}, this node asks for '
        f'{subscription.kind}'
    )
    if info.topic_type in BY_TYPE and subscription.kind in BY_TYPE:
        return f'{reason}: {_remedy(BY_TYPE[info.topic_type])}'
    return f'{reason}: remap to another topic'


def _incompatible(offered: QoSProfile, asked: QoSProfile) -> str:
    """Name the first policy by which a publisher and a subscription do not match."""
    # the check knows no endless durations but as zero
    policies = {name.strip('_'): getattr(asked, name.strip('_')) for name in QoSProfile.__slots__}
    for name in ('deadline', 'liveliness_lease_duration'):
        policies[name] = Duration() if policies[name] == Infinite else policies[name]
    compatibility, _ = qos_check_compatible(offered, QoSProfile(**policies))
    if compatibility != QoSCompatibility.ERROR:
        return ''
    for name in NAMED:
        # of both, the stronger promise has the smaller number and the weaker one the larger
        if getattr(offered, name) > getattr(asked, name):
            return name
    return 'deadline, liveliness or lease duration'


def _policy(reason: str, other: QoSProfile) -> str:
    """Name the policy to set, and to what: the other end's."""
    if reason not in NAMED:
        return 'deadline'
    return f'{reason} to {getattr(other, reason).name.lower()}'


def _shown(qos: QoSProfile) -> str:
    return ', '.join(getattr(qos, name).name.lower().replace('_', ' ') for name in NAMED)


def _name(info: Any) -> str:
    return printable(f'{info.node_namespace.rstrip("/")}/{info.node_name}', LONGEST)
