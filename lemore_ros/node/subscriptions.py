"""Subscribe to the topics of one camera, and keep its depth images until their labels are there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy import subscription as rclpy_subscription
from sensor_msgs.msg import CameraInfo, Image

from lemore_ros.messages.common import message_class, stamp_ns, transport_class
from lemore_ros.messages.images import make_reader
from lemore_ros.node import qos
from lemore_ros.node.lifecycle import EVENTS
from lemore_ros.node.qos_diagnosis import Subscription, why_no_images
from lemore_ros.outputs import AUTO, IMAGE, TRANSPORTS, Transport

HAS_INFO = hasattr(rclpy_subscription.Subscription, 'CallbackType')
# depth images of one camera, while images wait for their labels
CAPACITY, CAPACITY_BYTES = 30, 2**26
# messages of one camera overtake each other by less; more is a clock that was set back
JUMP_NS = 1_000_000_000


class DepthBuffer:
    """Keep the last depth messages of one camera by stamp; safe to use from several threads.

    At most ``capacity`` of them, of ``capacity_bytes`` together, and the last one of any size.
    """

    def __init__(self, *, capacity: int = CAPACITY, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._capacity, self._capacity_bytes = capacity, capacity_bytes
        self._lock = threading.Lock()
        self._messages: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Any) -> None:
        """Add a message; it replaces one with the same stamp."""
        stamp = stamp_ns(message.header)
        with self._lock:
            # a bag started over; zero is no stamp, and paired only with a frame without one
            if stamp and stamp < max(self._messages, default=0) - JUMP_NS:
                self._messages.clear()
            self._messages[stamp] = message
            while len(self._messages) > 1 and (
                len(self._messages) > self._capacity
                or sum(len(one.data) for one in self._messages.values()) > self._capacity_bytes
            ):
                del self._messages[min(self._messages)]

    def nearest(self, stamp: int, tolerance_ns: int) -> Any:
        """Return the message nearest to ``stamp`` (ns), ``None`` beyond ``tolerance_ns``."""
        with self._lock:
            if stamp == 0:
                return self._messages.get(0)
            near = [one for one in self._messages if one and abs(one - stamp) <= tolerance_ns]
            best = min(near, key=lambda one: (abs(one - stamp), one), default=None)
            return None if best is None else self._messages[best]

    def clear(self) -> None:
        """Drop all messages."""
        with self._lock:
            self._messages.clear()


class Subscriptions:
    """Subscribe to ``<prefix>image``, ``camera_info``, ``depth`` and ``depth/camera_info``.

    ``reader`` reads the images; ``info``, ``depth`` and ``depth_info`` are the last messages beside
    them. ``on_image`` gets a message and its ``MessageInfo``, ``on_depth`` a message that it puts into
    ``depth`` or not, ``on_lost`` the number of lost images, ``on_incompatible`` an event of the QoS.
    """

    def __init__(
        self,
        node: Any,
        prefix: str,
        transport: str,
        *,
        on_image: Callable[[Any, Any], None],
        on_depth: Callable[[Any], None],
        on_lost: Callable[[int], None],
        on_incompatible: Callable[[Any], None],
    ) -> None:
        self._node, self._prefix = node, prefix
        self._on_image, self._on_depth = on_image, on_depth
        self._on_lost, self._on_incompatible = on_lost, on_incompatible
        self._is_auto = transport == AUTO
        self._transport = TRANSPORTS['raw' if self._is_auto else transport]
        self.reader = make_reader(self._transport.type, self.topic)
        self.info: Any = None
        self.depth, self.depth_info = DepthBuffer(), None
        # by topic; several with images only in auto mode, until one of them has images
        self._held: dict[str, Any] = {}
        self._unreadable: set[Transport] = set()

    @property
    def topic(self) -> str:
        """Resolved name of the image topic."""
        return self._resolved(_topic(self._transport))

    @property
    def is_open(self) -> bool:
        """Whether images are subscribed to."""
        return bool(self._held)

    def check(self) -> None:
        """Create all subscriptions once, so that a wrong QoS override fails the activation."""
        try:
            self.open()
            self.use_depth(wanted=True)
            for transport in TRANSPORTS.values():
                if self._is_auto and message_class(transport.type) is not None:
                    self._subscribe_to_images(transport)
        finally:
            self.close()

    def open(self) -> None:
        """Subscribe to images and their camera info."""
        self._take([*self._offered(), self._transport][0])
        self._subscribe('camera_info', CameraInfo, partial(setattr, self, 'info'))

    def follow(self, *, silent: bool, unreadable: bool) -> bool:
        """In auto mode, switch to another transport where that is better; return whether it did.

        A topic may be advertised and never have an image: where the one that is taken is ``silent``,
        all are subscribed to, and the first that has an image is taken. One whose images are all
        ``unreadable`` is taken where there is no other.
        """
        if not (self._is_auto and self.is_open):
            return False
        if unreadable:
            self._unreadable.add(self._transport)
        offered, former = self._offered(), self._transport
        if unreadable and former in offered:  # all are: one that was passed over may have recovered
            self._unreadable = {former}
            offered = self._offered()
        if offered and former not in offered:
            self._take(offered[0])
        for transport in offered if silent else ():
            self._subscribe_to_images(transport)
        return self._transport != former

    def close(self) -> None:
        """Unsubscribe from everything."""
        self._unsubscribe(*self._held)
        self.depth.clear()
        self._unreadable.clear()
        self.reader = make_reader(self._transport.type, self.topic)

    def use_depth(self, *, wanted: bool) -> None:
        """Subscribe to depth images and their camera info, or unsubscribe."""
        if wanted:
            self._subscribe('depth', Image, self._on_depth)
            self._subscribe('depth/camera_info', CameraInfo, partial(setattr, self, 'depth_info'))
        else:
            self._unsubscribe('depth', 'depth/camera_info')
            self.depth.clear()

    def only_publisher(self) -> Any:
        """Return the id of the publisher of the images, ``None`` unless it is the only one."""
        infos = self._node.get_publishers_info_by_topic(self.topic)
        return bytes(infos[0].endpoint_gid) if len(infos) == 1 else None

    def why_no_images(self, *, heard: bool, lost: int) -> str:
        """Return why no image comes, see :func:`~lemore_ros.node.qos_diagnosis.why_no_images`."""
        profile = self._held[_topic(self._transport)].qos_profile
        wanted = Subscription(self.topic, self._transport, profile, self._is_auto)
        return why_no_images(self._node, wanted, heard=heard, lost=lost)

    def why_no_info(self) -> str:
        """Return why no camera info of the images comes."""
        topic = self._resolved('camera_info')
        if not self._node.get_publishers_info_by_topic(topic):
            return f'nobody publishes {topic}, remap camera_info to that of the images'
        own = f'qos_overrides.{topic}.subscription'
        return (
            f'none came on {topic}. If it is published once, and kept for later subscribers, set the '
            f'parameters {own}.durability to transient_local and {own}.reliability to reliable'
        )

    def why_no_depth(self) -> str:
        """Return why no depth image comes, empty if one came or may come yet."""
        topic = self._resolved('depth')
        infos = self._node.get_publishers_info_by_topic(topic)
        if len(self.depth) or any(info.topic_type == IMAGE for info in infos):
            return ''
        return f'nobody publishes {IMAGE} on {topic}, remap depth to that of the depth images'

    def _offered(self) -> list[Transport]:
        """In auto mode, return the transports that are published, in the order of preference."""
        offered = [
            transport
            for transport in TRANSPORTS.values()
            if self._is_auto
            and message_class(transport.type) is not None
            and any(
                info.topic_type == transport.type
                for info in self._node.get_publishers_info_by_topic(
                    self._resolved(_topic(transport))
                )
            )
        ]
        return [one for one in offered if one not in self._unreadable] or offered

    def _take(self, transport: Transport) -> None:
        """Subscribe to the images of one transport alone."""
        if transport != self._transport:
            if self.is_open:
                why = 'are unreadable' if self._transport in self._unreadable else 'do not come'
                text = (
                    f'images of {self.topic} {why}: taken from {self._resolved(_topic(transport))}'
                )
                self._node.get_logger().info(text)
            self._transport = transport
            self.reader = make_reader(transport.type, self.topic)
        self._unsubscribe(*(_topic(other) for other in TRANSPORTS.values() if other != transport))
        self._subscribe_to_images(transport)

    def _on_message(self, transport: Transport, message: Any, info: Any) -> None:
        # else it waited when another one was taken
        if _topic(transport) in self._held:
            self._take(transport)
            self._on_image(message, info)

    def _resolved(self, topic: str) -> str:
        """Return a topic as it is remapped, that of another transport else beside the raw images."""
        name, resolve = self._prefix + topic, self._node.resolve_topic_name
        resolved = resolve(name)
        if topic.startswith('image/') and resolved == resolve(name, only_expand=True):
            resolved = resolve(f'{self._prefix}image') + topic.removeprefix('image')
        return str(resolved)

    def _subscribe_to_images(self, transport: Transport) -> None:
        # Humble has no info, and the EventsExecutor of Jazzy fails where a callback takes it
        has_info = self._node.values.executor != EVENTS and HAS_INFO
        self._subscribe(
            _topic(transport),
            transport_class(transport),
            partial(self._on_message, transport, **({} if has_info else {'info': {}})),
            qos.every() if transport.is_video else qos.newest(),
            message_lost=lambda event: self._on_lost(event.total_count_change),
            incompatible_qos=self._on_incompatible,
        )

    def _subscribe(
        self, topic: str, kind: type, handler: Any, profile: Any = None, **events: Any
    ) -> None:
        """Subscribe to a topic, unless it is subscribed to."""
        if topic not in self._held:
            create = partial(
                self._node.create_subscription,
                *(kind, self._resolved(topic), handler, profile or qos.newest()),
                qos_overriding_options=qos.overridable(),
            )
            self._held[topic] = qos.with_events(create, **events)

    def _unsubscribe(self, *topics: str) -> None:
        for topic in topics:
            if topic in self._held:
                self._node.destroy_subscription(self._held.pop(topic))


def _topic(transport: Transport) -> str:
    return f'image{transport.suffix}'
