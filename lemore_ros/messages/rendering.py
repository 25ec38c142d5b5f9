"""A labelled frame as messages; each is made only when it is asked for, and once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.image import to_network
from lemore_core.render import blend, colorize
from lemore_core.segmentation import Segmentation
from lemore_core.taxonomy import Taxonomy
from lemore_ros.messages.camera_info import scaled_camera_info
from lemore_ros.messages.compressed import to_compressed_message
from lemore_ros.messages.images import Frame, to_image_message

RGB, GREY, IDS_16BIT = 'rgb8', 'mono8', '16UC1'


class Rendering:
    """The messages of one frame, all with its header.

    ``result`` is refined: its labels are those of ``taxonomy``, at the size of the outputs.
    ``to_image`` and ``to_compressed`` make the messages, rclpy's unless others are given.
    """

    def __init__(
        self,
        frame: Frame,
        result: Segmentation,
        taxonomy: Taxonomy,
        alpha: float,
        *,
        to_image: Callable[..., Any] = to_image_message,
        to_compressed: Callable[..., Any] = to_compressed_message,
    ) -> None:
        self._frame = frame
        self._result = result
        self._palette = taxonomy.palette
        self._alpha = alpha
        self._to_image = to_image
        self._to_compressed = to_compressed

    def labels(self) -> Any:
        """``sensor_msgs/Image`` of class ids, mono8 or 16UC1."""
        return self._image(self._result.labels, self._id_encoding)

    def labels_compressed(self) -> Any:
        """``sensor_msgs/CompressedImage`` of class ids, PNG: JPEG would change them."""
        return self._compressed(self._result.labels, self._id_encoding, 'png')

    def confidence(self) -> Any:
        """``sensor_msgs/Image`` of probabilities, mono8."""
        return self._image(self._result.confidence, GREY)

    def color(self) -> Any:
        """``sensor_msgs/Image`` of the classes' colours, rgb8."""
        return self._image(self._colors, RGB)

    def overlay(self) -> Any:
        """``sensor_msgs/Image`` of the image with the colours blended in, rgb8."""
        return self._image(self._overlay, RGB)

    def overlay_compressed(self) -> Any:
        """``sensor_msgs/CompressedImage`` of the overlay, JPEG."""
        return self._compressed(self._overlay, RGB, 'jpeg')

    def camera_info(self, info: Any) -> Any:
        """Return the ``sensor_msgs/CameraInfo`` of the labels, from that of the image."""
        height, width = self._result.labels.shape
        return scaled_camera_info(info, self._frame.header, height=height, width=width)

    @cached_property
    def _overlay(self) -> NDArray[np.uint8]:
        pixels, encoding = self._frame.pixels, self._frame.encoding
        labels = self._result.labels
        if pixels.shape[:2] != labels.shape:
            pixels, encoding = to_network(pixels, encoding, *labels.shape), RGB
        return blend(pixels, encoding, self._colors, self._alpha)

    @cached_property
    def _colors(self) -> NDArray[np.uint8]:
        return colorize(self._result.labels, self._palette)

    @property
    def _id_encoding(self) -> str:
        return GREY if self._result.labels.itemsize == 1 else IDS_16BIT

    def _image(self, pixels: Any, encoding: str) -> Any:
        return self._to_image(pixels, encoding, self._frame.header)

    def _compressed(self, pixels: Any, encoding: str, form: str) -> Any:
        return self._to_compressed(pixels, encoding, self._frame.header, form=form)


# by the topic on which they leave
RENDERINGS: Mapping[str, Callable[[Rendering], Any]] = {
    'labels': Rendering.labels,
    'labels/compressed': Rendering.labels_compressed,
    'confidence': Rendering.confidence,
    'color': Rendering.color,
    'overlay': Rendering.overlay,
    'overlay/compressed': Rendering.overlay_compressed,
}
