"""One camera: its topics, its newest frame, and what is published on its behalf."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from lemore_core.image import Image
from lemore_core.segmentation import Segmentation
from lemore_ros.messages.camera_info import CameraInfoError
from lemore_ros.messages.compressed import read_compressed
from lemore_ros.messages.images import ImageError, read_image
from lemore_ros.messages.point_cloud import to_point_cloud
from lemore_ros.messages.rendering import Rendering
from lemore_ros.messages.stamps import stamp_ns
from lemore_ros.node.camera_stats import Health
from lemore_ros.node.depth_buffer import DepthBuffer
from lemore_ros.node.publishers import Outputs
from lemore_ros.node.rate_limit import RateLimit
from lemore_ros.node.settings import Settings
from lemore_ros.node.subscriptions import COMPRESSED, Handlers, Inputs
from lemore_ros.node.throttled_log import ThrottledLogger
from lemore_ros.outputs import OUTPUTS

SILENCE_S = 5.0
NOBODY = 'nobody subscribes to its outputs'


class Camera:
    """A camera of an active node; ``name`` is empty where it is the only one.

    Everything but :meth:`publish` runs on the executor's thread. ``offer`` takes an image to the
    worker and says whether it replaced one that was waiting; ``forget`` throws that one away and
    says whether there was one.
    """

    def __init__(
        self,
        node: Any,
        name: str,
        settings: Settings,
        health: Health,
        offer: Callable[[Camera, Image], bool],
        forget: Callable[[Camera], bool],
    ) -> None:
        self.name = name
        self.health = health
        self._node = node
        self._settings = settings
        self._offer = offer
        self._forget = forget
        self._paused = ''
        self._limit = RateLimit()
        self._depth = DepthBuffer()
        self._info: Any = None
        self._depth_info: Any = None
        self._explained = ''
        prefix = f'{name}/' if name else ''
        transport = settings.parameters.image_transport
        self._decode = read_compressed if transport == COMPRESSED else read_image
        handlers = Handlers(
            image=self._on_image,
            lost=self._on_lost,
            silent=self._on_incompatible,
            info=self._on_info,
            depth=self._depth.put,
            depth_info=self._on_depth_info,
        )
        self._inputs = Inputs(node, prefix, transport, handlers)
        self._inputs.check()
        self._complaints = ThrottledLogger(node.get_logger(), self._inputs.topic)
        self._outputs = Outputs(node, prefix, settings, self.refresh)
        self.refresh()

    def apply(self, settings: Settings) -> None:
        """Take other settings, from the next frame on."""
        self._settings = settings
        self._outputs.apply(settings)
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
        """Take the topics back."""
        with ExitStack() as steps:
            steps.callback(self._outputs.destroy)
            steps.callback(self.pause, 'inactive')

    def refresh(self) -> None:
        """Listen to the camera while somebody listens to the labels."""
        idle = self._paused
        if not idle and not (self._outputs.has_subscribers or not self._outputs.knows_subscribers):
            idle = NOBODY
        if idle:
            self._inputs.close()
            if self._forget(self):
                self.health.count_dropped()
            self._depth.clear()
            self.health.expect_frames(idle=idle)
            return
        if not self._inputs.is_open:
            self._inputs.open()
            self._explained = ''
            self.health.expect_frames()
        self._inputs.take_depth(wanted=self._outputs.wanted('points'))

    def run_watchdog(self) -> None:
        """See that images are taken in while they are wanted, and say once why none comes."""
        # a middleware that forgets to tell of a listener costs a second, not the labels
        self.refresh()
        silence = self.health.silence_s
        if silence >= SILENCE_S:
            self._explain(f'no image for {silence:.0f} s: ')

    def fail(self, reason: str) -> None:
        """Count an image that could not be labelled, and say why."""
        self.health.count_failed(reason)
        self._complaints.error('image', reason)

    def publish(self, image: Image, result: Segmentation) -> None:
        """Publish what somebody wants to know of a labelled image; runs on the worker's thread."""
        started = time.perf_counter()
        settings = self._settings
        refined = settings.refinement.apply(result)
        alpha = settings.parameters.overlay_alpha
        rendering = Rendering(image, refined, settings.taxonomy, alpha)
        for name, output in OUTPUTS.items():
            if output.is_image and self._outputs.wanted(name):
                self._outputs.publish(name, rendering.message(output))
        self._publish_geometry(image, refined, rendering)
        stamp = stamp_ns(image.header)
        now: int = self._node.get_clock().now().nanoseconds
        self.health.count_labelled(
            age_ms=(now - stamp) / 1e6 if stamp else None,
            segmenter_ms=result.timings.total_ms,
            work_ms=1e3 * (time.perf_counter() - started),
        )

    def _publish_geometry(self, image: Image, result: Segmentation, rendering: Rendering) -> None:
        # labels are right whatever is wrong with the calibration or the depth
        try:
            if self._info is not None and self._outputs.wanted('camera_info'):
                self._outputs.publish('camera_info', rendering.camera_info(self._info))
        except CameraInfoError as error:
            self._complaints.warn('camera_info', str(error))
        try:
            if self._outputs.wanted('points'):
                self._publish_points(image, result)
        except (ImageError, CameraInfoError) as error:
            self._complaints.warn('points', str(error))

    def _publish_points(self, image: Image, result: Segmentation) -> None:
        tolerance_ms = self._settings.parameters.depth_tolerance_ms
        depth = self._depth.nearest(stamp_ns(image.header), int(1e6 * tolerance_ms))
        info = self._depth_info or self._info
        if depth is None:
            msg = f'no points: no depth image within {tolerance_ms:g} ms of the image'
            self._complaints.warn('depth', msg)
        elif info is None:
            self._complaints.warn('depth', 'no points: no camera_info came')
        else:
            if depth.header.frame_id not in {'', image.header.frame_id}:
                self._complaints.warn(
                    'frame_id',
                    f'the depth image is of frame {depth.header.frame_id!r}, the image of '
                    f'{image.header.frame_id!r}: depth must be registered to the camera',
                )
            self._outputs.publish('points', to_point_cloud(image, result, depth, info))

    def _on_image(self, message: Any) -> None:
        self.health.count_received()
        self._explained = ''
        if not self._limit.admits(self._settings.parameters.max_rate_hz):
            self.health.count_skipped()
            return
        started = time.perf_counter()
        try:
            image = self._decode(message)
        except ImageError as error:
            self.fail(str(error))
            return
        if stamp_ns(image.header) == 0:
            self._complaints.warn(
                'stamp', 'images have no time stamp; labels carry the same zero stamp'
            )
        if self._offer(self, image):
            self.health.count_dropped()
        self.health.count_intake(1e3 * (time.perf_counter() - started))

    def _on_lost(self, lost: int) -> None:
        self.health.count_lost(lost)
        self._complaints.warn(
            'lost',
            f'the middleware lost {lost} images. Large images need the Fast DDS profile '
            'config/dds/fastdds_shared_memory.xml at both ends',
        )

    def _on_incompatible(self) -> None:
        # the event may come when nobody listens any more
        if self._inputs.is_open:
            self._explain('')

    def _explain(self, what: str) -> None:
        reason = self._inputs.why_silent()
        if reason != self._explained:
            self._explained = reason
            self._node.get_logger().warning(f'{self._inputs.topic}: {what}{reason}')

    def _on_info(self, message: Any) -> None:
        self._info = message

    def _on_depth_info(self, message: Any) -> None:
        self._depth_info = message
