"""The topics on which a camera's images, and what belongs to them, come in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lemore_ros.messages.common import message_class, transport_class
from lemore_ros.messages.readers import make_reader
from lemore_ros.node import qos
from lemore_ros.node.compat import SubscriptionEventCallbacks, UnsupportedEventTypeError
from lemore_ros.node.qos_diagnosis import Subscription, why_no_images
from lemore_ros.transports import AUTO, COMPRESSED_DEPTH, TRANSPORTS, Transport

NUMBERLESS = 2**31 - 1

Handler = Callable[[Any], None]


class Subscriptions:
    """The subscriptions of one camera: ``<prefix>image`` and so on.

    ``transport`` is the form in which images come, or ``auto``: then it is the first of those that
    somebody publishes. ``reader`` reads their messages.

    ``handlers`` are called on the executor's thread with what comes on ``image``, ``camera_info``,
    ``depth`` and ``depth/camera_info``; ``lost`` with the number of images that got lost, and
    ``incompatible`` where the QoS of a publisher and of this node do not match.

    They exist only while they are open, so that a node without subscribers costs the network and
    the processor nothing.
    """

    def __init__(
        self,
        node: Any,
        prefix: str,
        transport: str,
        handlers: Mapping[str, Handler],
        depth_transport: str = 'raw',
    ) -> None:
        self._node = node
        self._prefix = prefix
        self._handlers = handlers
        self._is_depth_packed = depth_transport == COMPRESSED_DEPTH
        self._is_auto = transport == AUTO
        self._transport = TRANSPORTS['raw' if self._is_auto else transport]
        self.reader = make_reader(self._transport.type)
        self._subscriptions: list[Any] = []
        self._depth: list[Any] = []

    @property
    def topic(self) -> str:
        """The resolved name of the topic of images."""
        return str(self._resolved(self._transport))

    @property
    def is_open(self) -> bool:
        """Whether images are taken in."""
        return bool(self._subscriptions)

    def check(self) -> None:
        """Refuse a QoS that cannot be had, before somebody subscribes to the outputs.

        Raises:
            TransportError: the messages of the transport are of a package that is not installed.
            Exception: what the middleware says of it.
        """
        try:
            self.open()
            self.take_depth(wanted=True)
        finally:
            self.close()

    def open(self) -> None:
        """Take images in."""
        if not self.is_open:
            self._transport = self._offered() or self._transport
            self._subscriptions = [self._subscribe_to_images()]
            self._subscriptions.append(self._subscribe(CameraInfo, 'camera_info'))

    def follow(self) -> None:
        """Go over to the form in which images are offered, if another one is meant to be taken."""
        if self.is_open and self._offered() not in {None, self._transport}:
            self.close()
            self.open()

    def close(self) -> None:
        """Take nothing in."""
        self.take_depth(wanted=False)
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def take_depth(self, *, wanted: bool) -> None:
        """Take depth images in as well, or no longer."""
        if wanted and not self._depth:
            handler = self._handlers['depth']
            if self._is_depth_packed:
                topic = f'depth/{COMPRESSED_DEPTH}'
                self._depth = [self._subscribe(CompressedImage, topic, handler)]
            else:
                self._depth = [self._subscribe(Image, 'depth', handler)]
            self._depth.append(self._subscribe(CameraInfo, 'depth/camera_info'))
        while self._depth and not wanted:
            self._node.destroy_subscription(self._depth.pop())

    def why_no_images(self, *, heard: bool, lost: int) -> str:
        """Return why no image comes, see :func:`~lemore_ros.node.qos_diagnosis.why_no_images`."""
        profile = self._subscriptions[0].qos_profile
        subscription = Subscription(self.topic, self._transport.type, profile)
        return why_no_images(self._node, subscription, heard=heard, lost=lost)

    def _offered(self) -> Transport | None:
        """Return the form to take where that is not settled; the one that is taken stays."""
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
        self.reader = make_reader(self._transport.type)
        profile = qos.every() if self._transport.is_video else qos.newest()
        create = partial(
            self._node.create_subscription,
            transport_class(self._transport),
            f'{self._prefix}image{self._transport.suffix}',
            self._handlers['image'],
            qos_overriding_options=qos.overridable(),
        )
        try:
            events = SubscriptionEventCallbacks(
                message_lost=lambda event: self._handlers['lost'](_lost(event.total_count_change)),
                incompatible_qos=self._handlers['incompatible'],
            )
            return create(profile, event_callbacks=events)
        except UnsupportedEventTypeError:
            # not every middleware tells
            return create(profile)

    def _subscribe(self, kind: type, topic: str, handler: Handler | None = None) -> Any:
        return self._node.create_subscription(
            kind,
            self._prefix + topic,
            handler or self._handlers[topic],
            qos.newest(),
            qos_overriding_options=qos.overridable(),
        )


def _lost(messages: int) -> int:
    # Fast DDS gives the largest number where it does not know how many
    return 1 if messages >= NUMBERLESS else messages
