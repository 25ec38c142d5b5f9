"""Publish the results of one camera."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile
from std_msgs.msg import Float32, Header, String

from lemore_core.familiarity import SceneStatistics
from lemore_core.images.image import Image
from lemore_core.segmentation import Refinement, Segmentation, refinement_of
from lemore_core.taxonomy import Taxonomy, mask_tables
from lemore_ros.messages.common import message_class
from lemore_ros.messages.rendering import Rendering, classes_json, label_info_message
from lemore_ros.node import qos
from lemore_ros.node.parameters import NodeParameters
from lemore_ros.node.qos_diagnosis import why_not_received
from lemore_ros.outputs import CAMERA_INFO, FLOAT, OUTPUTS, Output, mask_outputs


@dataclass(frozen=True)
class OutputSettings:
    """Output settings for a network: classes or groups of the labels, masks and outputs by topic."""

    parameters: NodeParameters
    taxonomy: Taxonomy
    refinement: Refinement
    masks: Mapping[str, NDArray[np.uint8]]
    outputs: Mapping[str, Output]

    @classmethod
    def of(
        cls, parameters: NodeParameters, classes: Taxonomy, scenes: SceneStatistics | None = None
    ) -> OutputSettings:
        """Derive the settings; without ``scenes`` no familiarity is offered."""
        refinement, taxonomy = refinement_of(parameters, classes)
        tables = mask_tables(filter(None, parameters.masks), classes, refinement.groups)
        topics = {name: mask_outputs(name) for name in tables}
        told = {'familiarity': scenes, 'sureness': scenes and scenes.temperature}
        outputs = {name: output for name, output in OUTPUTS.items() if told.get(name, True)}
        return cls(
            parameters,
            taxonomy,
            refinement,
            {topics[name][0].name: table for name, table in tables.items()},
            {**outputs, **{output.name: output for pair in topics.values() for output in pair}},
        )


class Publishers:
    """Publish ``~/<prefix>labels`` and so on; a message is rendered only while subscribed to.

    Messages are published on the worker's thread; publishers of masks are made and destroyed on the
    executor's, where ``on_subscribers`` is called when subscribers come or go.
    """

    def __init__(
        self, node: Any, prefix: str, settings: OutputSettings, on_subscribers: Callable[[], None]
    ) -> None:
        self._node, self._prefix, self._on_subscribers = node, f'~/{prefix}', on_subscribers
        self._lock = threading.Lock()
        self._publishers: dict[str, Any] = {}
        self._latched: dict[str, Any] = {}
        self._described: tuple[Taxonomy, float] | None = None
        try:
            for topic, output in OUTPUTS.items():
                if output.is_latched and (kind := message_class(output.type)) is not None:
                    self._latched[topic] = self._create(topic, kind, qos.latched())
            self.apply(settings)
        except Exception:
            self.destroy()
            raise

    def apply(self, settings: OutputSettings) -> None:
        """Offer the topics of the settings, and publish the class table if it changed."""
        offered = {name for name, output in settings.outputs.items() if not output.is_latched}
        for topic in self._publishers.keys() - offered:
            self._withdraw(topic)
        for topic in sorted(offered - self._publishers.keys()):
            self._offer(topic, message_class(settings.outputs[topic].type))
        self._describe(settings.taxonomy, settings.parameters.min_confidence)

    def has_subscribers(self, topic: str = '') -> bool:
        """Return whether a topic, or any of them, has a subscriber."""
        with self._lock:
            found = [self._publishers.get(topic)] if topic else list(self._publishers.values())
            return any(one is not None and one.get_subscription_count() > 0 for one in found)

    def publish_images(
        self, image: Image, result: Segmentation, settings: OutputSettings, info: Any
    ) -> None:
        """Publish images and figures with subscribers, then camera info, scaled from ``info``."""
        alpha = settings.parameters.overlay_alpha
        rendering = Rendering(image, result, settings.taxonomy, alpha, masks=settings.masks)
        wanted = {
            name: output for name, output in settings.outputs.items() if self.has_subscribers(name)
        }
        for topic, output in wanted.items():
            if output.is_image:
                self.publish(topic, rendering.message(output))
            elif output.type == FLOAT and (share := getattr(result, topic)) is not None:
                self.publish(topic, Float32(data=share))
        topics = [topic for topic, output in wanted.items() if output.type == CAMERA_INFO]
        if topics and info is not None:
            message = rendering.camera_info(info)
            for topic in topics:
                self.publish(topic, message)

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
        publisher = qos.with_events(
            partial(self._create, topic, kind, qos.output()),
            is_publisher=True,
            matched=lambda _: self._on_subscribers(),
            incompatible_qos=lambda _: self._warn_of_qos(topic),
        )
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

    def _create(self, topic: str, kind: type, profile: QoSProfile, **options: Any) -> Any:
        options['qos_overriding_options'] = qos.overridable()
        return self._node.create_publisher(kind, self._prefix + topic, profile, **options)

    def _describe(self, taxonomy: Taxonomy, min_confidence: float) -> None:
        if self._described == (taxonomy, min_confidence):
            return
        self._described = taxonomy, min_confidence
        self._latched['classes'].publish(String(data=classes_json(taxonomy)))
        if 'label_info' in self._latched:
            header = Header(stamp=self._node.get_clock().now().to_msg())
            info = label_info_message(taxonomy, header, threshold=min_confidence)
            self._latched['label_info'].publish(info)
