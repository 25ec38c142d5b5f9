"""Subscribe to one camera, queue its newest message, and publish the labels of its images."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from math import nan
from typing import Any, NamedTuple

from lemore_core.common.errors import in_one_line
from lemore_core.images.image import Image
from lemore_core.mailbox import Mailbox
from lemore_core.segmentation import Segmentation
from lemore_ros.messages.camera_info import CameraInfoError
from lemore_ros.messages.common import stamp_ns
from lemore_ros.messages.images import ImageError, ImageReader, VideoReader
from lemore_ros.messages.point_cloud import to_point_cloud
from lemore_ros.node.diagnostics import CameraStats
from lemore_ros.node.logs import ThrottledLogger
from lemore_ros.node.publishers import OutputSettings, Publishers
from lemore_ros.node.qos_diagnosis import LARGE_IMAGES
from lemore_ros.node.subscriptions import Subscriptions

EXPLAIN_AFTER_S = 5.0
NO_SUBSCRIBER = 'nobody subscribes to its outputs'
# an image that seems older has the stamp of another clock
OLDEST_MS = 60_000.0
# Fast DDS reports this number of lost messages if it does not know how many
UNKNOWN_NUMBER = 2**31 - 1


class Arrival(NamedTuple):
    """A message that waits for the worker; ``image`` if it is decoded already, as video is."""

    camera: Camera
    message: Any
    reader: ImageReader | VideoReader
    image: Image | None = None


class Camera:
    """Input and outputs of one camera; ``name`` is empty if it is the only one.

    :meth:`decode`, :meth:`publish` and :meth:`fail` run on the worker's thread, everything else on
    the executor's; video alone is decoded there, in order.
    """

    def __init__(
        self,
        node: Any,
        name: str,
        settings: OutputSettings,
        stats: CameraStats,
        mailbox: Mailbox[Arrival],
    ) -> None:
        self.name, self.stats = name, stats
        self._node, self._settings, self._mailbox = node, settings, mailbox
        self._rotation = settings.parameters.rotation_of(name)
        self._limit = RateLimit()
        self._paused = self._explained = ''
        self._heard, self._lost = False, 0
        self._stamp = 0
        prefix = f'{name}/' if name else ''
        self.subscriptions = Subscriptions(
            node,
            prefix,
            settings.parameters.image_transport,
            on_image=self._on_image,
            on_lost=self._on_lost,
            on_incompatible=self._on_incompatible,
        )
        self.subscriptions.check()
        self._log = ThrottledLogger(node.get_logger(), self.subscriptions.topic)
        self._publishers = Publishers(node, prefix, settings, self.refresh)
        self.refresh()

    def apply(self, settings: OutputSettings) -> None:
        """Apply other settings from the next image on."""
        self._settings = settings
        self._publishers.apply(settings)
        self.refresh()

    def pause(self, reason: str) -> None:
        """Unsubscribe for a reason that the diagnostics show; subscribe again if it is empty."""
        self._paused = reason
        self.refresh()

    def close(self) -> None:
        """Destroy the subscriptions and the publishers."""
        with ExitStack() as steps:
            steps.callback(self._publishers.destroy)
            steps.callback(self.pause, 'inactive')

    def refresh(self) -> None:
        """Subscribe to the camera's topics while the outputs have subscribers."""
        if self._paused or not self._publishers.has_subscribers():
            self.subscriptions.close()
            if self._mailbox.clear(self.name):
                self.stats.count('dropped')
            self.stats.expect_frames(idle=self._paused or NO_SUBSCRIBER)
            return
        if not self.subscriptions.is_open:
            self.subscriptions.open()
            self._explained = ''
            self._heard, self._lost = False, 0
            self.stats.expect_frames()
        self.subscriptions.follow()
        self.subscriptions.use_depth(wanted=self._publishers.has_subscribers('points'))

    def run_watchdog(self, stuck_s: int) -> None:
        """Refresh, and log once why no image comes; the network is stuck for ``stuck_s``."""
        self.stats.stuck_s = stuck_s
        # a subscriber that the middleware does not report is found within a second
        self.refresh()
        gap_s = self.stats.silent_s(EXPLAIN_AFTER_S)
        if gap_s:
            self._explain(f'no image for {gap_s:.0f} s: ')

    def decode(self, message: Any, reader: ImageReader | VideoReader) -> Image | None:
        """Return the image of a message, ``None`` if it cannot be read."""
        started = time.perf_counter()
        try:
            parameters = self._settings.parameters
            image = reader.read(message, parameters.max_pixels, parameters.bit_depth)
        except Exception as error:  # noqa: BLE001 - one image must not end the worker
            self.fail(error)
            return None
        self.stats.add_times(intake=1e3 * (time.perf_counter() - started))
        return image._replace(rotation=self._rotation)

    def publish(self, image: Image, result: Segmentation, settings: OutputSettings) -> None:
        """Publish the outputs that have subscribers."""
        started = time.perf_counter()
        # labels are right whatever is wrong with the calibration or the depth
        try:
            self._publishers.publish_images(image, result, settings, self.subscriptions.info)
        except CameraInfoError as error:
            self._log.warn('camera_info', str(error))
        try:
            if self._publishers.has_subscribers('points'):
                self._publish_points(image, result, settings.parameters.depth_tolerance_ms)
        except (ImageError, CameraInfoError) as error:
            self._log.warn('points', str(error))
        self.stats.count_labelled(result.resized)
        self.stats.add_times(
            age=self._age_ms(stamp_ns(image.header)),
            segmenter=result.timings.total_ms,
            work=1e3 * (time.perf_counter() - started),
        )
        if result.resized:
            height, width = result.network_size
            text = f'{result.resized}: its images are resized to {width}x{height}'
            self._log.warn_once(_kind(result.resized), text)

    def fail(self, error: Exception) -> None:
        """Count an image that could not be segmented, and log why."""
        reason = in_one_line(error)
        self.stats.count_failed(reason)
        self._log.error(_kind(reason), reason)

    def _on_image(self, message: Any) -> None:
        self.stats.count('received')
        self._explained = ''
        self._heard, self._lost = True, 0
        reader, parameters = self.subscriptions.reader, self._settings.parameters
        if not self._limit.admits(parameters.max_rate_hz):
            reader.skip(message, parameters.max_pixels)
            self.stats.count('skipped')
            return
        image = None
        if isinstance(reader, VideoReader):
            image = self.decode(message, reader)
            if image is None:
                return
        if self._mailbox.put(Arrival(self, message, reader, image), self.name):
            self.stats.count('dropped')

    def _on_lost(self, lost: int) -> None:
        lost = 1 if lost >= UNKNOWN_NUMBER else lost
        self.stats.count('lost', lost)
        self._lost += lost
        self._log.warn_once('lost', f'the middleware lost {lost} images: {LARGE_IMAGES}')

    def _on_incompatible(self, _event: Any) -> None:
        # the event may come after the last subscriber has gone
        if self.subscriptions.is_open:
            self._explain('')

    def _explain(self, what: str) -> None:
        reason = self.subscriptions.why_no_images(heard=self._heard, lost=self._lost)
        if reason != self._explained:
            self._explained = reason
            self._node.get_logger().warning(f'{self.subscriptions.topic}: {what}{reason}')

    def _age_ms(self, stamp: int) -> float:
        """Return the age of a stamp, NaN if it is not of this node's clock."""
        now: int = self._node.get_clock().now().nanoseconds
        age_ms = (now - stamp) / 1e6
        former, self._stamp = self._stamp, stamp
        if stamp == 0:
            self._log.warn('stamp', 'images have no time stamp; labels carry the same zero stamp')
            return nan
        if stamp >= former and 0 <= age_ms <= OLDEST_MS:
            return age_ms
        what = f'{age_ms:.0f} ms old' if stamp >= former else 'older than the one before'
        self._log.warn_once(
            'clock',
            f'the image is {what}: unknown clock, its age is not counted. Synchronise the clocks, '
            'or set use_sim_time where a bag or a simulation publishes /clock',
        )
        return nan

    def _publish_points(self, image: Image, result: Segmentation, tolerance_ms: float) -> None:
        beside = self.subscriptions
        depth = beside.depth.nearest(stamp_ns(image.header), int(1e6 * tolerance_ms))
        info = beside.depth_info or beside.info
        if depth is None:
            msg = f'no points: no depth image within {tolerance_ms:g} ms of the image'
            self._log.warn('depth', msg)
        elif info is None:
            self._log.warn('depth', 'no points: no camera_info came')
        else:
            frame, own = depth.header.frame_id, image.header.frame_id
            if frame not in {'', own}:
                msg = f'the depth image is of frame {frame!r}, the image of {own!r}: '
                self._log.warn('frame_id', f'{msg}depth must be registered to the camera')
            self._publishers.publish('points', to_point_cloud(image, result, depth, info))


class RateLimit:
    """Admit events at a rate, evenly although they jitter: 30 Hz limited to 15 Hz are not 10."""

    EARLY = 0.25

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = 0.0

    def admits(self, rate_hz: float) -> bool:
        """Return whether an event now is within ``rate_hz``; zero admits all."""
        if rate_hz <= 0:
            return True
        now, period = self._clock(), 1.0 / rate_hz
        if now < self._due - self.EARLY * period:
            # a rate that was raised counts from now
            self._due = min(self._due, now + (1 + self.EARLY) * period)
            return False
        # a gap of more than a period is not made up for
        self._due = (now if now - self._due > period else self._due) + period
        return True


def _kind(reason: str) -> str:
    # numbers differ from frame to frame, another kind of error is news
    return re.sub(r'\d+', '', reason)
