"""Subscribe to the topics of one camera, and keep its depth images until their labels are there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from sensor_msgs.msg import CameraInfo, Image

from lemore_ros.messages.common import message_class, stamp_ns, transport_class
from lemore_ros.messages.images import make_reader
from lemore_ros.node import qos
from lemore_ros.node.qos_diagnosis import Subscription, why_no_images
from lemore_ros.outputs import AUTO, TRANSPORTS, Transport

CAPACITY = 30
# messages of one camera overtake each other by less; more is a clock that was set back
JUMP_NS = 1_000_000_000


class DepthBuffer:
    """Keep the last depth messages of one camera by stamp; safe to use from several threads."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
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
            stamps = [one for one in self._messages if one]
            if len(stamps) > self._capacity:
                del self._messages[min(stamps)]

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
    them. ``on_lost`` gets the number of lost images, ``on_incompatible`` an event of the QoS.
    """

    def __init__(
        self,
        node: Any,
        prefix: str,
        transport: str,
        *,
        on_image: Callable[[Any], None],
        on_lost: Callable[[int], None],
        on_incompatible: Callable[[Any], None],
    ) -> None:
        self._node, self._prefix = node, prefix
        self._on_image, self._on_lost = on_image, on_lost
        self._on_incompatible = on_incompatible
        self._is_auto = transport == AUTO
        self._transport = TRANSPORTS['raw' if self._is_auto else transport]
        self.reader = make_reader(self._transport.type, self.topic)
        self.info: Any = None
        self.depth, self.depth_info = DepthBuffer(), None
        self._subscriptions: list[Any] = []
        self._of_depth: list[Any] = []

    @property
    def topic(self) -> str:
        """Resolved name of the image topic."""
        return str(self._resolved(self._transport))

    @property
    def is_open(self) -> bool:
        """Whether images are subscribed to."""
        return bool(self._subscriptions)

    def check(self) -> None:
        """Create all subscriptions once, so that a wrong QoS override fails the activation."""
        try:
            self.open()
            self.use_depth(wanted=True)
        finally:
            self.close()

    def open(self) -> None:
        """Subscribe to images and their camera info."""
        if not self.is_open:
            self._transport = self._offered() or self._transport
            on_info = partial(setattr, self, 'info')
            self._subscriptions = [self._subscribe_to_images()]
            self._subscriptions.append(self._subscribe(CameraInfo, 'camera_info', on_info))

    def follow(self) -> None:
        """Switch to the transport now being published, if it is chosen automatically."""
        if self.is_open and self._offered() not in {None, self._transport}:
            self.close()
            self.open()

    def close(self) -> None:
        """Unsubscribe from everything."""
        self.use_depth(wanted=False)
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def use_depth(self, *, wanted: bool) -> None:
        """Subscribe to depth images and their camera info, or unsubscribe."""
        if wanted and not self._of_depth:
            on_info = partial(setattr, self, 'depth_info')
            self._of_depth = [self._subscribe(Image, 'depth', self.depth.put)]
            self._of_depth.append(self._subscribe(CameraInfo, 'depth/camera_info', on_info))
        while self._of_depth and not wanted:
            self._node.destroy_subscription(self._of_depth.pop())
            self.depth.clear()

    def why_no_images(self, *, heard: bool, lost: int) -> str:
        """Return why no image comes, see :func:`~lemore_ros.node.qos_diagnosis.why_no_images`."""
        profile = self._subscriptions[0].qos_profile
        wanted = Subscription(self.topic, self._transport.type, profile)
        return why_no_images(self._node, wanted, heard=heard, lost=lost)

    def _offered(self) -> Transport | None:
        """In auto mode, return the transport to use; prefer the current one."""
        if not self._is_auto:
            return None
        offered = [
            transport
            for transport in TRANSPORTS.values()
            if message_class(transport.type) is not None
            and any(
                info.topic_type == transport.type
                for info in self._node.get_publishers_info_by_topic(self._resolved(transport))
            )
        ]
        return self._transport if self._transport in offered else next(iter(offered), None)

    def _resolved(self, transport: Transport) -> Any:
        return self._node.resolve_topic_name(f'{self._prefix}image{transport.suffix}')

    def _subscribe_to_images(self) -> Any:
        transport = self._transport
        self.reader = make_reader(transport.type, self.topic)
        create = partial(
            self._node.create_subscription,
            transport_class(transport),
            f'{self._prefix}image{transport.suffix}',
            self._on_image,
            qos.every() if transport.is_video else qos.newest(),
            qos_overriding_options=qos.overridable(),
        )
        return qos.with_events(
            create,
            message_lost=lambda event: self._on_lost(event.total_count_change),
            incompatible_qos=self._on_incompatible,
        )

    def _subscribe(self, kind: type, topic: str, handler: Callable[[Any], None]) -> Any:
        name, options = self._prefix + topic, {'qos_overriding_options': qos.overridable()}
        return self._node.create_subscription(kind, name, handler, qos.newest(), **options)
