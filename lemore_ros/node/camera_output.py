"""The end of a camera's way through the node: what is published of its images."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from lemore_core.images.image import Image
from lemore_core.segmentation import Segmentation
from lemore_ros.messages.camera_info import CameraInfoError
from lemore_ros.messages.common import stamp_ns
from lemore_ros.messages.images import ImageError
from lemore_ros.messages.point_cloud import to_point_cloud
from lemore_ros.messages.rendering import Rendering
from lemore_ros.node.camera_stats import CameraStats
from lemore_ros.node.depth_buffer import DepthBuffer
from lemore_ros.node.output_settings import OutputSettings
from lemore_ros.node.publishers import Publishers
from lemore_ros.node.throttled_log import ThrottledLogger
from lemore_ros.outputs import CAMERA_INFO

# labels of an older image are of no use live: its clock is another one
OLDEST_MS = 60_000.0


class CameraOutput:
    """Renders and publishes what somebody subscribes to.

    :meth:`publish` runs on the worker's thread, everything else on the executor's.
    ``on_subscribers`` is called when subscribers come or go. ``info``, ``depth`` and ``depth_info``
    are what came in beside the images.
    """

    def __init__(
        self,
        node: Any,
        prefix: str,
        settings: OutputSettings,
        stats: CameraStats,
        log: ThrottledLogger,
        on_subscribers: Callable[[], None],
    ) -> None:
        self.stats = stats
        self.depth = DepthBuffer()
        self._stamp = 0
        self.info: Any = None
        self.depth_info: Any = None
        self._node = node
        self._settings = settings
        self._log = log
        self.publishers = Publishers(node, prefix, settings, on_subscribers)

    def apply(self, settings: OutputSettings) -> None:
        """Take other settings, from the next image on."""
        self._settings = settings
        self.publishers.apply(settings)

    def fail(self, reason: str) -> None:
        """Count an image that could not be segmented, and log why."""
        self.stats.count_failed(reason)
        self._log.error(_kind(reason), reason)

    def publish(self, image: Image, result: Segmentation) -> None:
        """Publish what somebody subscribes to of a segmented image."""
        started = time.perf_counter()
        settings = self._settings
        refined = settings.refinement.apply(result)
        alpha = settings.parameters.overlay_alpha
        rendering = Rendering(image, refined, settings.taxonomy, alpha, masks=settings.masks)
        for name, output in settings.outputs.items():
            if output.is_image and self.publishers.is_wanted(name):
                self.publishers.publish(name, rendering.message(output))
        # labels are right whatever is wrong with the calibration or the depth
        try:
            self._publish_camera_info(rendering)
        except CameraInfoError as error:
            self._log.warn('camera_info', str(error))
        try:
            if self.publishers.is_wanted('points'):
                self._publish_points(image, refined)
        except (ImageError, CameraInfoError) as error:
            self._log.warn('points', str(error))
        self.stats.count_labelled(
            age_ms=self._age_ms(stamp_ns(image.header)),
            segmenter_ms=result.timings.total_ms,
            work_ms=1e3 * (time.perf_counter() - started),
            resized=result.resized,
        )
        if result.resized:
            height, width = result.network_size
            text = f'{result.resized}: its images are resized to {width}x{height}'
            self._log.warn_once(_kind(result.resized), text)

    def _publish_camera_info(self, rendering: Rendering) -> None:
        topics = [
            name
            for name, output in self._settings.outputs.items()
            if output.type == CAMERA_INFO and self.publishers.is_wanted(name)
        ]
        if topics and self.info is not None:
            message = rendering.camera_info(self.info)
            for name in topics:
                self.publishers.publish(name, message)

    def _age_ms(self, stamp: int) -> float | None:
        now: int = self._node.get_clock().now().nanoseconds
        age_ms = (now - stamp) / 1e6
        former, self._stamp = self._stamp, stamp
        if stamp == 0:
            return None
        if stamp >= former and 0 <= age_ms <= OLDEST_MS:
            return age_ms
        what = f'{age_ms:.0f} ms old' if stamp >= former else 'older than the one before'
        self._log.warn_once(
            'clock',
            f'the image is {what}: unknown clock, its age is not counted. Synchronise the clocks, '
            'or set use_sim_time where a bag or a simulation publishes /clock',
        )
        return None

    def _publish_points(self, image: Image, result: Segmentation) -> None:
        settings = self._settings
        tolerance_ms = settings.parameters.depth_tolerance_ms
        depth = self.depth.nearest(stamp_ns(image.header), int(1e6 * tolerance_ms))
        info = self.depth_info or self.info
        if depth is None:
            msg = f'no points: no depth image within {tolerance_ms:g} ms of the image'
            self._log.warn('depth', msg)
        elif info is None:
            self._log.warn('depth', 'no points: no camera_info came')
        else:
            renamed = bool(settings.parameters.frame_id)
            if not renamed and depth.header.frame_id not in {'', image.header.frame_id}:
                self._log.warn(
                    'frame_id',
                    f'the depth image is of frame {depth.header.frame_id!r}, the image of '
                    f'{image.header.frame_id!r}: depth must be registered to the camera',
                )
            self.publishers.publish('points', to_point_cloud(image, result, depth, info))


def _kind(reason: str) -> str:
    # numbers differ from frame to frame, trouble of another kind is news
    return re.sub(r'\d+', '', reason)
