"""The topics on which labels leave the node."""

from __future__ import annotations

import json
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import String

from lemore_core.render import colorize, overlay
from lemore_core.segmentation import Segmentation
from lemore_core.taxonomy import Taxonomy
from lemore_ros.images import Frame, to_image_message
from lemore_ros.parameters import NodeParameters

DEPTH = 5
TOPICS = ('labels', 'color', 'overlay', 'confidence')


class Outputs:
    """The publishers of one activation; every message carries the header of its frame, untouched.

    Labels are published for every frame. What must be rendered is, unless ``lazy`` is off, only
    rendered while somebody subscribes to it.
    """

    def __init__(self, node: Any, taxonomy: Taxonomy, parameters: NodeParameters) -> None:
        self._node = node
        self._taxonomy = taxonomy
        self._lazy = parameters.lazy
        self._publishers: dict[str, Any] = {}
        try:
            for topic in TOPICS:
                if getattr(parameters, f'publish_{topic}'):
                    self._publishers[topic] = self._image_publisher(topic)
            self._classes = self._class_publisher()
        except Exception:
            self.destroy()
            raise
        self._classes.publish(String(data=classes_json(taxonomy)))

    def publish(self, frame: Frame, result: Segmentation, alpha: float) -> None:
        """Publish what is known of a frame; ``alpha`` is the weight of the overlay's colours."""
        palette = self._taxonomy.palette
        if 'labels' in self._publishers:
            encoding = 'mono8' if result.labels.itemsize == 1 else '16UC1'
            self._send('labels', result.labels, encoding, frame)
        if self._wanted('confidence'):
            self._send('confidence', result.confidence, 'mono8', frame)
        if self._wanted('color'):
            self._send('color', colorize(result.labels, palette), 'rgb8', frame)
        if self._wanted('overlay'):
            blended = overlay(frame.pixels, frame.encoding, result.labels, palette, alpha)
            self._send('overlay', blended, 'rgb8', frame)

    def destroy(self) -> None:
        """Take the topics back."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers.clear()

    def _wanted(self, topic: str) -> bool:
        publisher = self._publishers.get(topic)
        if publisher is None:
            return False
        return not self._lazy or publisher.get_subscription_count() > 0

    def _send(self, topic: str, pixels: Any, encoding: str, frame: Frame) -> None:
        self._publishers[topic].publish(to_image_message(pixels, encoding, frame.header))

    def _image_publisher(self, topic: str) -> Any:
        return self._node.create_publisher(
            Image,
            f'~/{topic}',
            QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _class_publisher(self) -> Any:
        latched = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        publisher = self._node.create_publisher(String, '~/classes', latched)
        self._publishers['classes'] = publisher
        return publisher


def classes_json(taxonomy: Taxonomy) -> str:
    """Return the class table as a JSON list of ``{"id", "name", "color": [r, g, b]}``."""
    rows = zip(taxonomy.classes, taxonomy.colors, strict=True)
    return json.dumps(
        [{'id': i, 'name': name, 'color': list(color)} for i, (name, color) in enumerate(rows)]
    )
