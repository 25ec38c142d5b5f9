"""Images in, labels out: everything that exists only while the node is active."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image

from lemore_core.segmenter import Segmenter
from lemore_ros.health import Health
from lemore_ros.images import Frame, ImageError, to_frame
from lemore_ros.mailbox import Mailbox
from lemore_ros.outputs import Outputs
from lemore_ros.parameters import NodeParameters
from lemore_ros.worker import Worker

TOPIC = 'image'
THROTTLE_S = 5.0


class Stream:
    """The subscription, the worker and the publishers of one activation.

    ``parameters`` gives the node's values at that moment, so that live ones act on the next frame.
    """

    def __init__(
        self,
        node: Any,
        segmenter: Segmenter,
        health: Health,
        parameters: Callable[[], NodeParameters],
    ) -> None:
        self._node = node
        self._segmenter = segmenter
        self._health = health
        self._parameters = parameters
        self._topic = node.resolve_topic_name(TOPIC)
        self._subscription: Any = None
        self._mailbox: Mailbox[Frame] = Mailbox()
        self._worker = Worker(self._mailbox, self._label, self._on_error)
        self._outputs = Outputs(node, segmenter.taxonomy, parameters())
        self._worker.start()
        try:
            self.resume()
        except Exception:
            self.close()
            raise

    def resume(self) -> None:
        """Take images in."""
        if self._subscription is None:
            self._subscription = self._subscribe()
            self._health.expect_frames()

    def pause(self, reason: str) -> None:
        """Take no more images in; ``reason`` is what the diagnostics say meanwhile."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        if self._mailbox.clear():
            self._health.count_dropped()
        self._health.expect_frames(idle=reason)

    def close(self) -> None:
        """Take no more images in, finish the one in flight and take the topics back."""
        self.pause('inactive')
        self._worker.stop()
        self._outputs.destroy()

    def _subscribe(self) -> Any:
        create = partial(
            self._node.create_subscription,
            Image,
            TOPIC,
            self._on_image,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        try:
            events = SubscriptionEventCallbacks(message_lost=self._on_lost)
            return create(_sensor_data(), event_callbacks=events)
        except UnsupportedEventTypeError:
            # not every middleware tells
            return create(_sensor_data())

    def _on_lost(self, event: Any) -> None:
        self._health.count_lost(event.total_count_change)
        self._node.get_logger().warning(
            f'{self._topic}: the middleware lost {event.total_count} images in all. Large images '
            'need the Fast DDS profile config/dds/fastdds_shared_memory.xml at both ends',
            throttle_duration_sec=THROTTLE_S,
        )

    def _on_image(self, message: Any) -> None:
        self._health.count_received()
        try:
            frame = to_frame(message)
        except ImageError as error:
            self._health.count_failed(str(error))
            self._node.get_logger().error(
                f'{self._topic}: {error}', throttle_duration_sec=THROTTLE_S
            )
            return
        if _nanoseconds(frame.header.stamp) == 0:
            self._node.get_logger().warning(
                f'{self._topic}: images have no time stamp; labels carry the same zero stamp',
                throttle_duration_sec=THROTTLE_S,
            )
        if self._mailbox.put(frame):
            self._health.count_dropped()

    def _label(self, frame: Frame) -> None:
        self._health.count_accepted()
        result = self._segmenter.segment(frame.pixels, frame.encoding)
        self._outputs.publish(frame, result, self._parameters().overlay_alpha)
        stamp = _nanoseconds(frame.header.stamp)
        now: int = self._node.get_clock().now().nanoseconds
        self._health.count_labelled((now - stamp) / 1e6 if stamp else None)

    def _on_error(self, error: Exception) -> None:
        reason = f'{type(error).__name__}: {error}'
        self._health.count_failed(reason)
        self._node.get_logger().error(
            f'an image could not be labelled: {reason}', throttle_duration_sec=THROTTLE_S
        )


def _sensor_data() -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
    )


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
