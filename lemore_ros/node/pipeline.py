"""Images in, labels out: everything that exists only while the node is active."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from lemore_core.errors import in_one_line
from lemore_core.image import Image
from lemore_core.mailbox import Mailbox
from lemore_core.segmentation import Segmentation
from lemore_core.segmenter import Segmenter
from lemore_ros.node.camera_stats import Health
from lemore_ros.node.camera_stream import Camera
from lemore_ros.node.settings import Settings
from lemore_ros.node.worker import Worker


class Shot(NamedTuple):
    """An image and whose it is."""

    camera: Camera
    image: Image


class Stream:
    """The cameras of one activation, by name, and the worker that serves them all."""

    def __init__(
        self,
        node: Any,
        segmenter: Segmenter,
        healths: Mapping[str, Health],
        settings: Settings,
    ) -> None:
        self._segmenter = segmenter
        self._mailbox: Mailbox[Shot] = Mailbox()
        self._worker = Worker(self._mailbox, self._label, lambda: segmenter.status.batch)
        self._cameras: list[Camera] = []
        self._worker.start()
        try:
            for name, health in healths.items():
                self._cameras.append(
                    Camera(node, name, settings, health, self._offer, self._forget)
                )
        except Exception:
            self.close()
            raise

    def apply(self, settings: Settings) -> None:
        """Take other settings, from the next frame on."""
        for camera in self._cameras:
            camera.apply(settings)

    def resume(self) -> None:
        """Take images in."""
        for camera in self._cameras:
            camera.resume()

    def pause(self, reason: str) -> None:
        """Take no more images in; ``reason`` is what the diagnostics say meanwhile."""
        for camera in self._cameras:
            camera.pause(reason)

    def run_watchdog(self) -> None:
        """Put right what the middleware forgot to tell, and say why images do not come."""
        for camera in self._cameras:
            camera.run_watchdog()

    def close(self) -> None:
        """Take no more images in, finish those in hand and take the topics back.

        What goes wrong with one of them is raised when all the others are done.
        """
        with ExitStack() as steps:
            for camera in self._cameras:
                steps.callback(camera.close)
            steps.callback(self._worker.stop)
            for camera in self._cameras:
                steps.callback(camera.pause, 'inactive')

    def _offer(self, camera: Camera, image: Image) -> bool:
        return self._mailbox.put(Shot(camera, image), camera.name)

    def _forget(self, camera: Camera) -> bool:
        return self._mailbox.clear(camera.name)

    def _label(self, shots: list[Shot]) -> None:
        for shot in shots:
            shot.camera.health.count_accepted()
        for shot, result in self._segment(shots):
            self._publish(shot, result)

    def _segment(self, shots: list[Shot]) -> list[tuple[Shot, Segmentation]]:
        images = [shot.image for shot in shots]
        try:
            return list(zip(shots, self._segmenter.segment_batch(images), strict=True))
        except Exception as error:  # noqa: BLE001 - one frame must not silence the node
            if len(shots) == 1:
                shots[0].camera.fail(in_one_line(error))
                return []
        # one camera's image must not cost the others theirs
        return [labelled for shot in shots for labelled in self._segment([shot])]

    def _publish(self, shot: Shot, result: Segmentation) -> None:
        try:
            shot.camera.publish(shot.image, result)
        except Exception as error:  # noqa: BLE001 - nor must it silence the other cameras
            shot.camera.fail(in_one_line(error))
