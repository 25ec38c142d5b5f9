"""The topics on which a camera's labels leave the node."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.qos import QoSProfile
from std_msgs.msg import Header, String

from lemore_core.taxonomy import Taxonomy
from lemore_ros.messages.common import message_class
from lemore_ros.messages.rendering import classes_json, label_info_message
from lemore_ros.node import qos
from lemore_ros.node.compat import UnsupportedEventTypeError, publisher_events
from lemore_ros.node.output_settings import OutputSettings
from lemore_ros.node.qos_diagnosis import why_not_received
from lemore_ros.outputs import OUTPUTS


class Publishers:
    """The publishers of one camera; ``~/<prefix>labels`` and so on.

    Publishers come and go with the parameters, on the executor's thread; messages are published on
    the worker's. ``on_subscribers`` is called on the executor's thread when
    subscribers come or go.
    """

    def __init__(
        self, node: Any, prefix: str, settings: OutputSettings, on_subscribers: Callable[[], None]
    ) -> None:
        self._node = node
        self._prefix = f'~/{prefix}'
        self._on_subscribers = on_subscribers
        self._lock = threading.Lock()
        self._publishers: dict[str, Any] = {}
        self._latched: dict[str, Any] = {}
        self._lazy = settings.parameters.lazy
        self._described: tuple[Taxonomy, float] | None = None
        self._knows_subscribers = True
        try:
            self._offer_latched()
            self.apply(settings)
        except Exception:
            self.destroy()
            raise

    def apply(self, settings: OutputSettings) -> None:
        """Publish the topics that the parameters ask for, and describe their labels."""
        asked = {
            name: output
            for name, output in settings.outputs.items()
            if not output.is_latched
            and (not output.parameter or getattr(settings.parameters, output.parameter))
        }
        for name in self._publishers.keys() - asked.keys():
            self._withdraw(name)
        for name, output in asked.items():
            if name not in self._publishers:
                self._offer(name, message_class(output.type))
        if (settings.taxonomy, settings.parameters.min_confidence) != self._described:
            self._described = settings.taxonomy, settings.parameters.min_confidence
            self._describe(*self._described)

    def is_wanted(self, topic: str) -> bool:
        """Whether somebody subscribes to a topic, or it is published anyway."""
        with self._lock:
            publisher = self._publishers.get(topic)
            if publisher is None:
                return False
            return not self._lazy or publisher.get_subscription_count() > 0

    @property
    def are_wanted(self) -> bool:
        """Whether images are worth segmenting: a topic is wanted, or nobody can tell."""
        return not self._knows_subscribers or any(map(self.is_wanted, [*self._publishers]))

    def publish(self, topic: str, message: Any) -> None:
        """Publish a message, unless its topic was withdrawn meanwhile."""
        with self._lock:
            publisher = self._publishers.get(topic)
            if publisher is not None:
                publisher.publish(message)

    def destroy(self) -> None:
        """Destroy the publishers."""
        for topic in list(self._publishers):
            self._withdraw(topic)
        for publisher in self._latched.values():
            self._node.destroy_publisher(publisher)
        self._latched.clear()

    def _offer(self, topic: str, kind: type) -> None:
        create = partial(self._create, topic, kind, qos.output())
        try:
            events = publisher_events(
                matched=lambda _: self._on_subscribers(),
                incompatible_qos=lambda _: self._warn_of_qos(topic),
            )
            publisher = create(event_callbacks=events)
        except UnsupportedEventTypeError:
            # not every middleware tells who subscribes: then images are always taken in
            self._knows_subscribers = False
            publisher = create()
        with self._lock:
            self._publishers[topic] = publisher

    def _withdraw(self, topic: str) -> None:
        with self._lock:
            publisher = self._publishers.pop(topic, None)
        if publisher is not None:
            self._node.destroy_publisher(publisher)

    def _warn_of_qos(self, topic: str) -> None:
        publisher = self._publishers.get(topic)
        if publisher is not None:
            reason = why_not_received(self._node, publisher.topic_name, publisher.qos_profile)
            self._node.get_logger().warning(
                f'{publisher.topic_name} does not reach every subscriber: {reason}'
            )

    def _offer_latched(self) -> None:
        for topic, output in OUTPUTS.items():
            if output.is_latched and (kind := message_class(output.type)) is not None:
                self._latched[topic] = self._create(topic, kind, qos.latched())

    def _create(self, topic: str, kind: type, profile: QoSProfile, **options: Any) -> Any:
        return self._node.create_publisher(
            kind,
            self._prefix + topic,
            profile,
            qos_overriding_options=qos.overridable(),
            **options,
        )

    def _describe(self, taxonomy: Taxonomy, min_confidence: float) -> None:
        self._latched['classes'].publish(String(data=classes_json(taxonomy)))
        if 'label_info' in self._latched:
            header = Header(stamp=self._node.get_clock().now().to_msg())
            info = label_info_message(taxonomy, header, threshold=min_confidence)
            self._latched['label_info'].publish(info)
