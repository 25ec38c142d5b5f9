"""A video and a contact sheet from a recorded overlay topic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from lemore_core.image_file import write_image
from lemore_core.render import legend
from lemore_core.taxonomy import Taxonomy
from lemore_core.video import VideoWriter
from lemore_ros.messages.stamps import stamp_ns

COLUMNS, ROWS = 3, 2
TILE_WIDTH = 480


def overlay_frames(bag: Path, topic: str) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (stamp in nanoseconds, RGB (H, W, 3) uint8) of the rgb8 images of a topic."""
    store = get_typestore(Stores.ROS2_JAZZY)
    with Reader(bag) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        for connection, _, data in reader.messages(connections=connections):
            message: Any = store.deserialize_cdr(data, connection.msgtype)
            stamp = stamp_ns(message.header)
            yield stamp, message.data.reshape(message.height, message.width, 3)


def write_video(bag: Path, topic: str, output: Path) -> int:
    """Write the images of a topic as a video, each at its own time; return how many there were."""
    with VideoWriter(output) as video:
        for stamp, pixels in overlay_frames(bag, topic):
            video.write(stamp, pixels)
    return video.count


def write_contact_sheet(
    bag: Path, topic: str, count: int, taxonomy: Taxonomy, output: Path
) -> None:
    """Write six of the ``count`` images of a topic, evenly over time, above the legend (PNG)."""
    tiles = COLUMNS * ROWS
    wanted = {count * (2 * i + 1) // (2 * tiles) for i in range(tiles)}
    images = []
    for index, (_, pixels) in enumerate(overlay_frames(bag, topic)):
        if index in wanted:
            height = round(pixels.shape[0] * TILE_WIDTH / pixels.shape[1])
            size = (TILE_WIDTH, height)
            images.append(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    while len(images) < tiles:  # fewer frames than tiles
        images.append(np.full_like(images[0], 255))
    rows = [np.hstack(images[r * COLUMNS : (r + 1) * COLUMNS]) for r in range(ROWS)]
    sheet = np.vstack([*rows, legend(taxonomy, COLUMNS * TILE_WIDTH)])
    write_image(output, sheet)
