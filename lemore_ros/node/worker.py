"""Segment the newest images of all cameras on one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from lemore_core.common.errors import GpuContextLostError, LemoreError
from lemore_core.images.image import Image
from lemore_core.mailbox import Mailbox
from lemore_core.segmentation import Segmentation
from lemore_core.segmenter import Segmenter
from lemore_ros.node.camera import Arrival, Camera
from lemore_ros.node.diagnostics import CameraStats
from lemore_ros.node.publishers import OutputSettings

Frame = tuple[Camera, Image]
OnGpuLost = Callable[[GpuContextLostError], None]


class HungError(LemoreError):
    """A network that does not answer."""


class Worker:
    """Decode, segment and publish the newest messages of ``cameras`` until it is closed.

    Inference stays on the worker's one thread, as compiled models and CUDA graphs require; the
    methods are called on the executor's. ``on_gpu_lost`` is called on the worker's, and need not
    return.
    """

    def __init__(
        self, segmenter: Segmenter, settings: OutputSettings, on_gpu_lost: OnGpuLost
    ) -> None:
        self.cameras: list[Camera] = []
        self.mailbox: Mailbox[Arrival] = Mailbox()
        self._segmenter, self._settings = segmenter, settings
        self._on_gpu_lost = on_gpu_lost
        # the number of the batch in hand, zero between two, and the results of the last checks
        self._batches = self._in_hand = self._found = self._checks = 0
        self._thread = threading.Thread(target=self._run, name='lemore_worker', daemon=True)

    def start(self, node: Any, stats: Mapping[str, CameraStats]) -> None:
        """Start the thread and open the topics of every camera of ``stats``."""
        self._thread.start()
        try:
            for name, own in stats.items():
                self.cameras.append(Camera(node, name, self._settings, own, self.mailbox))
        except Exception:
            self.close()
            raise

    def apply(self, settings: OutputSettings) -> None:
        """Apply other settings from the next image on."""
        for camera in self.cameras:
            camera.apply(settings)
        self._settings = settings

    def pause(self, reason: str) -> None:
        """Unsubscribe for a reason that the diagnostics show; subscribe again if it is empty."""
        for camera in self.cameras:
            camera.pause(reason)

    def run_watchdog(self) -> int:
        """Check every camera, once a second; return the seconds without an answer of the network."""
        # counts calls with the same images in hand: time also passes while the process is stopped
        in_hand, self._found = self._found, self._in_hand
        self._checks = self._checks + 1 if in_hand and in_hand == self._found else 0
        for camera in self.cameras:
            camera.run_watchdog(self._checks)
        return self._checks

    def close(self) -> None:
        """Unsubscribe, finish the images in hand and destroy the topics."""
        with ExitStack() as steps:
            for camera in self.cameras:
                steps.callback(camera.close)
            steps.callback(self._stop)
            for camera in self.cameras:
                steps.callback(camera.pause, 'inactive')

    def _stop(self) -> None:
        timeout_s = self._settings.parameters.hang_timeout_s
        self.mailbox.close()
        if self._thread.is_alive():
            self._thread.join(timeout_s or None)
        if self._thread.is_alive():
            msg = f'the network has not answered for {timeout_s:g} s (hang_timeout_s)'
            raise HungError(msg)

    def _run(self) -> None:
        while arrivals := self.mailbox.take(self._segmenter.status.batch):
            self._batches += 1
            self._in_hand = self._batches
            self._process(arrivals)
            self._in_hand = 0
            # else the last images stay in memory until the next ones come
            del arrivals

    def _process(self, arrivals: list[Arrival]) -> None:
        settings, frames = self._settings, list[Frame]()
        for camera, message, reader, decoded in arrivals:
            image = decoded or camera.decode(message, reader)
            if image is not None:
                camera.stats.count('accepted')
                frames.append((camera, image))
        for (camera, image), result in self._segment(frames, settings):
            try:
                camera.publish(image, result, settings)
            except Exception as error:  # noqa: BLE001, PERF203 - one image must not end the thread
                camera.fail(error)

    def _segment(
        self, frames: list[Frame], settings: OutputSettings
    ) -> list[tuple[Frame, Segmentation]]:
        images = [image for _, image in frames]
        try:
            results = self._segmenter.segment_batch(images, settings.refinement)
            return list(zip(frames, results, strict=True))
        except GpuContextLostError as error:
            self._on_gpu_lost(error)
            return []
        except Exception as error:  # noqa: BLE001 - one image must not end the thread
            if len(frames) == 1:
                frames[0][0].fail(error)
                return []
        # one camera's image must not cost the others theirs
        return [pair for frame in frames for pair in self._segment([frame], settings)]
