"""Subscription -> mailbox -> worker -> publishers: what exists only while the node is active."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from lemore_core.common.errors import GpuContextLostError
from lemore_core.mailbox import Mailbox
from lemore_core.segmenter import Segmenter
from lemore_ros.node.camera_input import Arrival, CameraInput
from lemore_ros.node.camera_stats import CameraStats
from lemore_ros.node.output_settings import OutputSettings
from lemore_ros.node.worker import Worker


class Pipeline:
    """The cameras of one activation, by name, and the worker that they share."""

    def __init__(
        self,
        node: Any,
        segmenter: Segmenter,
        stats: Mapping[str, CameraStats],
        settings: OutputSettings,
        on_gpu_lost: Callable[[GpuContextLostError], None],
    ) -> None:
        mailbox: Mailbox[Arrival] = Mailbox()
        self._worker = Worker(mailbox, segmenter, on_gpu_lost)
        self._hang_timeout_s = settings.parameters.hang_timeout_s
        self.cameras: list[CameraInput] = []
        self._worker.start()
        try:
            for name, of_camera in stats.items():
                self.cameras.append(CameraInput(node, name, settings, of_camera, mailbox))
        except Exception:
            self.close()
            raise

    def apply(self, settings: OutputSettings) -> None:
        """Take other settings, from the next image on."""
        for camera in self.cameras:
            camera.apply(settings)

    def resume(self) -> None:
        """Take images in."""
        for camera in self.cameras:
            camera.resume()

    def pause(self, reason: str) -> None:
        """Take no more images in; ``reason`` is what the diagnostics say meanwhile."""
        for camera in self.cameras:
            camera.pause(reason)

    def run_watchdog(self) -> int:
        """Log why images do not come, and find subscribers that the middleware did not report.

        To be called once a second. Returns the seconds for which the network has not answered.
        """
        stuck_s = self._worker.count_stuck_checks()
        for camera in self.cameras:
            camera.run_watchdog(stuck_s)
        return stuck_s

    def close(self) -> None:
        """Take no more images in, finish those in hand and destroy the topics.

        What goes wrong with one of them is raised when all the others are done.
        """
        with ExitStack() as steps:
            for camera in self.cameras:
                steps.callback(camera.close)
            steps.callback(self._worker.stop, self._hang_timeout_s)
            for camera in self.cameras:
                steps.callback(camera.pause, 'inactive')
