"""What reads the messages of an image topic, by their type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lemore_core.common.limits import MAX_PIXELS
from lemore_core.images.image import Image
from lemore_ros.messages.compressed import read_compressed
from lemore_ros.messages.images import read_image
from lemore_ros.messages.video import VideoReader
from lemore_ros.outputs import COMPRESSED_IMAGE
from lemore_ros.transports import BY_TYPE


@dataclass(frozen=True)
class ImageReader:
    """Reads messages each of which is an image by itself; see :class:`VideoReader` for the other kind."""

    read: Callable[[Any, int], Image]

    def skip(self, message: Any, max_pixels: int = MAX_PIXELS) -> None:
        """Do nothing: no other image needs this one."""


def make_reader(kind: str) -> ImageReader | VideoReader:
    """Return a reader for one topic of messages such as ``sensor_msgs/msg/Image``."""
    if BY_TYPE[kind].is_video:
        return VideoReader()
    return ImageReader(read_compressed if kind == COMPRESSED_IMAGE else read_image)
