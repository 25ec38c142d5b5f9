"""The images of a bag's cameras, for commands of the core that take images of any kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lemore_core.distill.sources import ImageSource, drive_name
from lemore_core.images.image import Image, to_rgb
from lemore_ros.bags.reader import is_bag, open_bag
from lemore_ros.bags.topics import find_cameras


def open_images(path: Path) -> ImageSource | None:
    """Return the images of all cameras of a bag, one camera after the other; None for no bag.

    Raises:
        BagError: it is a bag without a camera, or nothing of it can be read.
    """
    if not is_bag(path):
        return None
    with open_bag(path) as bag:
        cameras, _ = find_cameras(bag)
    names = tuple(camera.topic.name for camera in cameras)
    return ImageSource(
        drive_name(path.stem),
        (path,),
        lambda: _images(path, names),
        sum(camera.topic.count for camera in cameras),
        is_moving=True,
    )


def _images(path: Path, topics: tuple[str, ...]) -> Iterator[NDArray[np.uint8]]:
    """Yield RGB (H, W, 3) uint8; messages that cannot be decoded are left out."""
    with open_bag(path) as bag:
        for name in topics:
            for _, image in bag.frames(bag.topic(name)):
                if isinstance(image, Image):
                    yield np.ascontiguousarray(to_rgb(image.pixels, image.encoding))
