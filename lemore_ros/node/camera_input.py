"""The beginning of a camera's way through the node: images from its topic into the mailbox."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any, NamedTuple

from lemore_core.common.errors import in_one_line
from lemore_core.images.image import Image
from lemore_core.mailbox import Mailbox
from lemore_ros.messages.common import stamp_ns
from lemore_ros.messages.images import ImageError
from lemore_ros.node.camera_output import CameraOutput
from lemore_ros.node.camera_stats import CameraStats
from lemore_ros.node.output_settings import OutputSettings
from lemore_ros.node.qos_diagnosis import LARGE_IMAGES
from lemore_ros.node.rate_limit import RateLimit
from lemore_ros.node.subscriptions import Subscriptions
from lemore_ros.node.throttled_log import ThrottledLogger

EXPLAIN_AFTER_S = 5.0
NO_SUBSCRIBER = 'nobody subscribes to its outputs'


class Arrival(NamedTuple):
    """An image, and where its labels go."""

    image: Image
    output: CameraOutput


class CameraInput:
    """Puts a camera's images into the mailbox while somebody subscribes to its outputs.

    ``name`` is empty where it is the only camera. Everything runs on the executor's thread.
    """

    def __init__(
        self,
        node: Any,
        name: str,
        settings: OutputSettings,
        stats: CameraStats,
        mailbox: Mailbox[Arrival],
    ) -> None:
        self.name = name
        self._node = node
        self._settings = settings
        self._stats = stats
        self._mailbox = mailbox
        self._paused = ''
        self._limit = RateLimit()
        self._explained = ''
        self._heard, self._lost = False, 0
        prefix = f'{name}/' if name else ''
        self._rotation = settings.parameters.rotation_of(name)
        self._frame_id = settings.parameters.frame_of(name)
        transport = settings.parameters.image_transport
        handlers = {
            'image': self._on_image,
            'lost': self._on_lost,
            'incompatible': self._on_incompatible,
            'camera_info': self._on_info,
            'depth': self._on_depth,
            'depth/camera_info': self._on_depth_info,
        }
        self._subscriptions = Subscriptions(
            node, prefix, transport, handlers, settings.parameters.depth_transport
        )
        self._subscriptions.check()
        self._log = ThrottledLogger(node.get_logger(), self._subscriptions.topic)
        self.output = CameraOutput(node, prefix, settings, stats, self._log, self.refresh)
        self.refresh()

    def apply(self, settings: OutputSettings) -> None:
        """Take other settings, from the next image on."""
        self._settings = settings
        self.output.apply(settings)
        self.refresh()

    def pause(self, reason: str) -> None:
        """Take no more images in; ``reason`` is what the diagnostics say meanwhile."""
        self._paused = reason
        self.refresh()

    def resume(self) -> None:
        """Take images in again."""
        self._paused = ''
        self.refresh()

    def close(self) -> None:
        """Destroy the subscriptions and the publishers."""
        with ExitStack() as steps:
            steps.callback(self.output.publishers.destroy)
            steps.callback(self.pause, 'inactive')

    def refresh(self) -> None:
        """Subscribe to the camera's topics while somebody subscribes to the outputs."""
        publishers = self.output.publishers
        if self._paused or not publishers.are_wanted:
            self._subscriptions.close()
            if self._mailbox.clear(self.name):
                self._stats.count('dropped')
            self.output.depth.clear()
            self._stats.expect_frames(idle=self._paused or NO_SUBSCRIBER)
            return
        if not self._subscriptions.is_open:
            self._subscriptions.open()
            self._explained = ''
            self._heard, self._lost = False, 0
            self._stats.expect_frames()
        self._subscriptions.follow()
        self._subscriptions.take_depth(wanted=publishers.is_wanted('points'))

    def run_watchdog(self, stuck_s: int) -> None:
        """Refresh, and log once why no image comes; the network is stuck for ``stuck_s``."""
        self._stats.stuck_s = stuck_s
        # a middleware that does not report a subscriber costs a second, not the labels
        self.refresh()
        gap_s = self._stats.silent_s(EXPLAIN_AFTER_S)
        if gap_s:
            self._explain(f'no image for {gap_s:.0f} s: ')

    def _on_image(self, message: Any) -> None:
        self._stats.count_received()
        self._explained = ''
        self._heard, self._lost = True, 0
        reader, parameters = self._subscriptions.reader, self._settings.parameters
        if not self._limit.admits(parameters.max_rate_hz):
            reader.skip(message, parameters.max_pixels)
            self._stats.count('skipped')
            return
        started = time.perf_counter()
        try:
            image = reader.read(message, parameters.max_pixels)
        except ImageError as error:
            self.output.fail(in_one_line(error))
            return
        image = image._replace(rotation=self._rotation)
        if self._frame_id:
            image.header.frame_id = self._frame_id
        if stamp_ns(image.header) == 0:
            self._log.warn('stamp', 'images have no time stamp; labels carry the same zero stamp')
        if self._mailbox.put(Arrival(image, self.output), self.name):
            self._stats.count('dropped')
        self._stats.add_intake(1e3 * (time.perf_counter() - started))

    def _on_lost(self, lost: int) -> None:
        self._stats.count('lost', lost)
        self._lost += lost
        self._log.warn_once('lost', f'the middleware lost {lost} images: {LARGE_IMAGES}')

    def _on_incompatible(self, _event: Any) -> None:
        # the event may come when nobody subscribes any more
        if self._subscriptions.is_open:
            self._explain('')

    def _explain(self, what: str) -> None:
        reason = self._subscriptions.why_no_images(heard=self._heard, lost=self._lost)
        if reason != self._explained:
            self._explained = reason
            self._node.get_logger().warning(f'{self._subscriptions.topic}: {what}{reason}')

    def _on_info(self, message: Any) -> None:
        self.output.info = message

    def _on_depth(self, message: Any) -> None:
        self.output.depth.put(message)

    def _on_depth_info(self, message: Any) -> None:
        self.output.depth_info = message
