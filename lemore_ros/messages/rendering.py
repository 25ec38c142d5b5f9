"""Render labels and the class table as ROS messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.images.image import Image, to_network
from lemore_core.images.render import blend, colorize
from lemore_core.segmentation import Segmentation
from lemore_core.taxonomy import Taxonomy
from lemore_ros.messages.camera_info import require_shape, scaled_camera_info
from lemore_ros.messages.images import compressed_fields, image_fields
from lemore_ros.outputs import Output

RGB, GREY, IDS_16BIT = 'rgb8', 'mono8', '16UC1'


def classes_json(taxonomy: Taxonomy) -> str:
    """Return the class table as a JSON list of ``{"id", "name", "color": [r, g, b]}``."""
    rows = zip(taxonomy.classes, taxonomy.colors, strict=True)
    return json.dumps(
        [{'id': i, 'name': name, 'color': list(color)} for i, (name, color) in enumerate(rows)]
    )


def label_info_message(taxonomy: Taxonomy, header: Any, *, threshold: float = 0.0) -> Any:
    """Return the classes as the ``vision_msgs/LabelInfo`` that nav2's semantic layer waits for."""
    from vision_msgs.msg import LabelInfo, VisionClass

    classes = [
        VisionClass(class_id=label, class_name=name) for label, name in enumerate(taxonomy.classes)
    ]
    return LabelInfo(header=header, class_map=classes, threshold=float(threshold))


def ros_message(kind: str, header: Any, fields: Mapping[str, Any]) -> Any:
    """Return a message of ``sensor_msgs`` for rclpy, with ``header`` itself."""
    # the bag tools render images with this module where no ROS is installed
    from sensor_msgs import msg

    plain = {name: value for name, value in fields.items() if name != 'data'}
    message = getattr(msg, kind.rpartition('/')[2])(header=header, **plain)
    # the message's own array grows in place: one that is assigned may be copied once more
    message.data.frombytes(fields['data'].data)
    return message


class Rendering:
    """Render the messages of one image on demand; ``make`` gets type, header and fields."""

    def __init__(
        self,
        image: Image,
        result: Segmentation,
        taxonomy: Taxonomy,
        alpha: float,
        make: Callable[[str, Any, Mapping[str, Any]], Any] = ros_message,
        masks: Mapping[str, NDArray[np.uint8]] = MappingProxyType({}),
    ) -> None:
        self._image, self._result = image, result
        self._palette, self._alpha = taxonomy.palette, alpha
        self._make, self._masks = make, masks

    def message(self, output: Output) -> Any:
        """Return the message of an output that ``is_image``: ids mono8 or 16UC1, colours rgb8."""
        pixels, encoding = self._pixels(output)
        if output.codec:
            fields = compressed_fields(pixels, encoding, form=output.codec)
        else:
            fields = image_fields(pixels, encoding)
        return self._make(output.type, self._image.header, fields)

    def camera_info(self, info: Any) -> Any:
        """Return the ``sensor_msgs/CameraInfo`` of the labels, given that of the image."""
        height, width = self._image.pixels.shape[:2]
        require_shape(info, height=height, width=width)
        height, width = self._result.labels.shape
        return scaled_camera_info(info, self._image.header, height=height, width=width)

    def _pixels(self, output: Output) -> tuple[Any, str]:
        if output.name in self._masks:
            return self._masks[output.name].take(self._result.labels), GREY
        if output.content == 'labels':
            labels = self._result.labels
            return labels, GREY if labels.itemsize == 1 else IDS_16BIT
        if output.content == 'confidence':
            return self._result.confidence, GREY
        return self._colors if output.content == 'color' else self._overlay, RGB

    @cached_property
    def _overlay(self) -> NDArray[np.uint8]:
        pixels, encoding = self._image[:2]
        labels = self._result.labels
        if pixels.shape[:2] != labels.shape:
            pixels, encoding = to_network(pixels, encoding, *labels.shape), RGB
        return blend(pixels, encoding, self._colors, self._alpha)

    @cached_property
    def _colors(self) -> NDArray[np.uint8]:
        return colorize(self._result.labels, self._palette)
