"""The topics on which a camera's images, and what belongs to them, come in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lemore_ros.node import qos
from lemore_ros.node.compat import SubscriptionEventCallbacks, UnsupportedEventTypeError
from lemore_ros.node.qos_diagnosis import Subscription, why_no_images
from lemore_ros.outputs import COMPRESSED_IMAGE, IMAGE

COMPRESSED = 'compressed'
NUMBERLESS = 2**31 - 1

Handler = Callable[[Any], None]


class Subscriptions:
    """The subscriptions of one camera: ``<prefix>image`` and so on.

    ``handlers`` are called on the executor's thread with what comes on ``image``, ``camera_info``,
    ``depth`` and ``depth/camera_info``; ``lost`` with the number of images that got lost, and
    ``incompatible`` where the QoS of a publisher and of this node do not match.

    They exist only while they are open, so that a node without subscribers costs the network and
    the processor nothing.
    """

    def __init__(
        self, node: Any, prefix: str, transport: str, handlers: Mapping[str, Handler]
    ) -> None:
        self._node = node
        self._prefix = prefix
        self._handlers = handlers
        self._is_compressed = transport == COMPRESSED
        name = f'{prefix}image/compressed' if self._is_compressed else f'{prefix}image'
        self._image_topic = name
        self.topic: str = node.resolve_topic_name(name)
        self._subscriptions: list[Any] = []
        self._depth: list[Any] = []

    @property
    def is_open(self) -> bool:
        """Whether images are taken in."""
        return bool(self._subscriptions)

    def check(self) -> None:
        """Refuse a QoS that cannot be had, before somebody subscribes to the outputs.

        Raises:
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
            self._subscriptions = [self._subscribe_to_images()]
            self._subscriptions.append(self._subscribe(CameraInfo, 'camera_info'))

    def close(self) -> None:
        """Take nothing in."""
        self.take_depth(wanted=False)
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def take_depth(self, *, wanted: bool) -> None:
        """Take depth images in as well, or no longer."""
        if wanted and not self._depth:
            self._depth = [self._subscribe(Image, 'depth')]
            self._depth.append(self._subscribe(CameraInfo, 'depth/camera_info'))
        while self._depth and not wanted:
            self._node.destroy_subscription(self._depth.pop())

    def why_no_images(self, *, heard: bool, lost: int) -> str:
        """Return why no image comes, see :func:`~lemore_ros.node.qos_diagnosis.why_no_images`."""
        kind = COMPRESSED_IMAGE if self._is_compressed else IMAGE
        profile = self._subscriptions[0].qos_profile
        subscription = Subscription(self.topic, kind, profile)
        return why_no_images(self._node, subscription, heard=heard, lost=lost)

    def _subscribe_to_images(self) -> Any:
        kind = CompressedImage if self._is_compressed else Image
        create = partial(
            self._node.create_subscription,
            kind,
            self._image_topic,
            self._handlers['image'],
            qos_overriding_options=qos.overridable(),
        )
        try:
            events = SubscriptionEventCallbacks(
                message_lost=lambda event: self._handlers['lost'](_lost(event.total_count_change)),
                incompatible_qos=self._handlers['incompatible'],
            )
            return create(qos.newest(), event_callbacks=events)
        except UnsupportedEventTypeError:
            # not every middleware tells
            return create(qos.newest())

    def _subscribe(self, kind: type, topic: str) -> Any:
        return self._node.create_subscription(
            kind,
            self._prefix + topic,
            self._handlers[topic],
            qos.newest(),
            qos_overriding_options=qos.overridable(),
        )


def _lost(messages: int) -> int:
    # Fast DDS gives the largest number where it does not know how many
    return 1 if messages >= NUMBERLESS else messages
