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
    """Resolved topic and QoS of a subscription to images; ``is_auto`` if others are tried too."""

    topic: str
    transport: Transport
    qos: QoSProfile
    is_auto: bool = False


def why_no_images(node: Any, subscription: Subscription, *, heard: bool, lost: int) -> str:
    """Return why nothing arrives; ``heard``: images came before, ``lost``: reported losses."""
    publishers = node.get_publishers_info_by_topic(subscription.topic)
    if not publishers:
        another = _another_transport(node, subscription)
        return f'nobody publishes it, {another}' if another else _nobody(node, subscription)
    fitting = [info for info in publishers if info.topic_type == subscription.transport.type]
    if not fitting:
        return _another_type(publishers[0], subscription)
    for info in fitting:
        if reason := _incompatible(info.qos_profile, subscription.qos):
            ends = (
                f'offers {_shown(info.qos_profile)}, this node asks for {_shown(subscription.qos)}'
            )
            remedy = _override(f'{subscription.topic}.subscription', reason, info.qos_profile)
            return f'publisher {_name(info)} {ends} ({reason}): {remedy}'
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
            ends = f'asks for {_shown(info.qos_profile)}, this node offers {_shown(offered)}'
            remedy = _override(f'{topic}.publisher', reason, info.qos_profile)
            return f'subscriber {_name(info)} {ends} ({reason}): {remedy}'
    return ''


def _another_transport(node: Any, subscription: Subscription) -> str:
    """Name a publisher of the same images by another transport."""
    own = subscription.transport
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
    topics = sorted(name for name, kinds in named if subscription.transport.type in kinds)
    taken = {own.topic_name for own in node.subscriptions}  # of this node's other cameras
    topics = [
        printable(name, LONGEST) for name in topics if name not in taken and _is_foreign(node, name)
    ]
    reason = f'nobody publishes it ({subscription.transport.type})'
    if not topics:
        return f'{reason}, and no other topic has such messages'
    more = ' and more' if len(topics) > NAMED_AT_MOST else ''
    return (
        f'{reason}; such messages are on {", ".join(topics[:NAMED_AT_MOST])}{more}: remap this one'
    )


def _is_foreign(node: Any, topic: str) -> bool:
    own = node.get_name(), node.get_namespace()
    infos = node.get_publishers_info_by_topic(topic)
    return any((info.node_name, info.node_namespace) != own for info in infos)


def _another_type(info: Any, subscription: Subscription) -> str:
    sent, remedy = printable(info.topic_type, LONGEST), 'remap to another topic'
    if info.topic_type in BY_TYPE:
        sender = BY_TYPE[info.topic_type]
        remedy = f'{_remedy(sender)}, and remap image{sender.suffix} to {subscription.topic}'
    return f'publisher {_name(info)} sends {sent}, this node asks for {subscription.transport.type}: {remedy}'


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


def _override(topic: str, reason: str, other: QoSProfile) -> str:
    """Name the parameter of the policy to set, and its value: the other end's."""
    value = f'{reason} to {getattr(other, reason).name.lower()}' if reason in NAMED else 'deadline'
    return f'set the parameter qos_overrides.{topic}.{value}'


def _shown(qos: QoSProfile) -> str:
    return ', '.join(getattr(qos, name).name.lower().replace('_', ' ') for name in NAMED)


def _name(info: Any) -> str:
    return printable(f'{info.node_namespace.rstrip("/")}/{info.node_name}', LONGEST)
