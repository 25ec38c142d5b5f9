"""Subscribe to one camera, queue its newest message, and publish the labels of its images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from logging import ERROR, INFO, WARNING
from math import nan
from typing import Any, NamedTuple

from lemore_core.common.errors import in_one_line, shown, span
from lemore_core.images.image import Image
from lemore_core.mailbox import Mailbox
from lemore_core.segmentation import Segmentation
from lemore_ros.messages.camera_info import CameraInfoError
from lemore_ros.messages.common import stamp_ns
from lemore_ros.messages.images import ImageError, ImageReader, VideoReader
from lemore_ros.messages.point_cloud import depth_rows, to_point_cloud
from lemore_ros.node.diagnostics import NO_IMAGE_S, CameraStats
from lemore_ros.node.logs import ThrottledLogger
from lemore_ros.node.publishers import OutputSettings, Publishers
from lemore_ros.node.qos_diagnosis import LARGE_IMAGES
from lemore_ros.node.subscriptions import Subscriptions

EXPLAIN_AFTER_S = 5.0
INFO_TOPIC = 'camera_info'
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
        self._reception = Reception()
        self._paused, self._stamp, self._without_info = '', 0, 0
        prefix = f'{name}/' if name else ''
        self.subscriptions = Subscriptions(
            node,
            prefix,
            settings.parameters.image_transport,
            on_image=self._on_image,
            on_depth=self._on_depth,
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
        try:
            self.pause('inactive')
        finally:
            self._publishers.destroy()

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
            self._reception = Reception()
            self.stats.expect_frames()
        silent, unreadable = self.stats.silent_s() > 0, self.stats.failing_s() > NO_IMAGE_S
        if self.subscriptions.follow(silent=silent, unreadable=unreadable):
            self.stats.expect_frames()
        self._log.topic = self.subscriptions.topic
        self.subscriptions.use_depth(wanted=self._publishers.has_subscribers('points'))

    def run_watchdog(self, stuck_s: int) -> None:
        """Refresh, and log once why no image comes; the network is stuck for ``stuck_s``."""
        self.stats.stuck_s = stuck_s
        # a subscriber that the middleware does not report is found within a second
        self.refresh()
        if self.stats.silent_s(EXPLAIN_AFTER_S):
            self._explain()
        is_missed = self.subscriptions.info is None and self._publishers.has_subscribers(INFO_TOPIC)
        self._without_info = self._without_info + 1 if is_missed and self._reception.heard else 0
        if self._without_info == EXPLAIN_AFTER_S:
            self._log.log(
                WARNING, f'no camera_info is published: {self.subscriptions.why_no_info()}'
            )

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
            self._log.log(WARNING, str(error), once=True)
        try:
            if self._publishers.has_subscribers('points'):
                self._publish_points(image, result, settings.parameters.depth_tolerance_ms)
        except (ImageError, CameraInfoError) as error:
            self._log.log(WARNING, str(error), once=True)
        self.stats.count_labelled(result.resized, result.familiarity, result.sureness)
        self.stats.add_times(
            age=self._age_ms(stamp_ns(image.header)),
            segmenter=result.timings.total_ms,
            work=1e3 * (time.perf_counter() - started),
        )
        if result.resized:
            height, width = result.network_size
            text = f'{result.resized}: its images are resized to {width}x{height}'
            self._log.log(INFO, text, once=True)

    def fail(self, error: Exception) -> None:
        """Count an image that could not be segmented, and log why."""
        reason = in_one_line(error)
        self.stats.count_failed(reason)
        self._log.log(ERROR, reason)

    def _on_image(self, message: Any, info: Mapping[str, Any]) -> None:
        self.stats.count('received')
        number = info.get('publication_sequence_number')
        self.stats.count('lost', self._reception.add(number, self.subscriptions.only_publisher))
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

    def _on_depth(self, message: Any) -> None:
        # checked before it is kept, and others are kept no longer
        try:
            depth_rows(message, self._settings.parameters.max_pixels)
        except ImageError as error:
            self._log.log(WARNING, str(error))
        else:
            self.subscriptions.depth.put(message)

    def _on_lost(self, lost: int) -> None:
        lost = 1 if lost >= UNKNOWN_NUMBER else lost
        self.stats.count('lost', self._reception.report(lost))
        self._log.log(WARNING, f'the middleware lost {lost} images: {LARGE_IMAGES}', once=True)

    def _on_incompatible(self, _event: Any) -> None:
        # the event may come after the last subscriber has gone
        if self.subscriptions.is_open:
            self._explain()

    def _explain(self) -> None:
        heard, lost = self._reception.heard, self._reception.lost
        reason = self.subscriptions.why_no_images(heard=heard, lost=lost)
        self.stats.explain_silence(f'{self.subscriptions.topic}: {reason}')
        self._log.log(WARNING, f'no image arrives: {reason}', once=True)

    def _age_ms(self, stamp: int) -> float:
        """Return the age of a stamp, NaN if it is not of this node's clock."""
        now: int = self._node.get_clock().now().nanoseconds
        age_ms = (now - stamp) / 1e6
        former, self._stamp = self._stamp, stamp
        if stamp == 0:
            text = 'images have no time stamp; labels carry the same zero stamp'
            self._log.log(WARNING, text, once=True)
        elif stamp < former:
            text = 'the bag began anew, or the camera has two clocks'
            self._log.log(INFO, f'the image is older than the one before: {text}', once=True)
        elif 0 <= age_ms <= OLDEST_MS:
            return age_ms
        else:
            remedy = 'synchronise the clocks'
            if not self._node.get_parameter('use_sim_time').value:
                remedy += ', or set use_sim_time where a bag or a simulation publishes /clock'
            elif now == 0:
                remedy = 'use_sim_time is set, and nothing came on /clock yet'
            age = f'{span(abs(age_ms / 1e3))} {"old" if age_ms > 0 else "ahead of this clock"}'
            text = f'the image is {age}: unknown clock, its age is not counted'
            self._log.log(WARNING, f'{text}: {remedy}', once=True)
        return nan

    def _publish_points(self, image: Image, result: Segmentation, tolerance_ms: float) -> None:
        beside = self.subscriptions
        depth = beside.depth.nearest(stamp_ns(image.header), int(1e6 * tolerance_ms))
        info = beside.depth_info or beside.info
        if depth is None:
            why = beside.why_no_depth() or f'no depth image within {tolerance_ms:g} ms of the image'
            self._log.log(WARNING, f'no points: {why}', once=True)
        elif info is None:
            why = f'no camera_info came: {beside.why_no_info()}'
            self._log.log(WARNING, f'no points: {why}', once=True)
        else:
            frame, own = depth.header.frame_id, image.header.frame_id
            if frame not in {'', own}:
                msg = f'the depth image is of frame {shown(frame)}, the image of {shown(own)}: '
                self._log.log(WARNING, f'{msg}depth must be registered to the camera')
            self._publishers.publish('points', to_point_cloud(image, result, depth, info))


class Reception:
    """What an open subscription has ``heard``, and ``lost`` by reports since its last image.

    Gaps in the numbers of an only publisher tell of all images that never came, also of those that
    newer ones overwrote before they were read. Elsewhere the middleware's reports have to do.
    """

    def __init__(self) -> None:
        self.heard, self.lost = False, 0
        self._number: int | None = None
        self._publisher: Any = None

    def add(self, number: int | None, only_publisher: Callable[[], Any]) -> int:
        """Take in an image and its number, if any; return how many are missing before it.

        ``only_publisher`` returns the publisher's id, None if there are several.
        """
        self.heard, self.lost = True, 0
        former, self._number = self._number, number
        if not number or number - 1 == former:
            return 0
        publisher, self._publisher = self._publisher, only_publisher()
        if self._publisher is None:
            self._number = None
        if not former or publisher != self._publisher:
            return 0
        return max(0, number - former - 1)

    def report(self, lost: int) -> int:
        """Take in a report of lost images; return how many of them no number will tell of."""
        self.lost += lost
        return 0 if self._number else lost


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
