"""What the demo plays and shows: a clip as a bag of camera images, overlays as a video and a sheet."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from lemore_core.images.files import write_image
from lemore_core.images.image import Image
from lemore_core.images.render import legend
from lemore_core.images.video import VideoError, frames_expected, read_video, video_writer
from lemore_core.taxonomy import Taxonomy
from lemore_ros.bags.reader import open_bag
from lemore_ros.bags.writer import VERSION, make_message, output_types, serialize
from lemore_ros.messages.common import stamp_ns
from lemore_ros.messages.images import image_fields
from lemore_ros.outputs import IMAGE

FRAME_ID = 'camera'
COLUMNS, ROWS = 3, 2
TILE_WIDTH = 480


def write_bag(clip: Path, bag: Path, topic: str, progress: Callable[[int, int], None]) -> int:
    """Write a clip as rgb8 images, stamped from zero, into a whole bag; return their number."""
    bag.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=bag.parent, prefix=f'.{bag.name}.') as folder:
        # under its own name already, which the file inside gets too
        whole = Path(folder, bag.name)
        count = _write(clip, whole, topic, progress)
        if count == 0:
            msg = f'{clip} holds no frames'
            raise VideoError(msg)
        shutil.rmtree(bag, ignore_errors=True)
        whole.rename(bag)
    return count


def _write(clip: Path, bag: Path, topic: str, progress: Callable[[int, int], None]) -> int:
    expected = frames_expected(clip)
    writer = Writer(bag, version=VERSION, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    count = 0
    with writer:
        connection = writer.add_connection(topic, IMAGE, typestore=output_types())
        for stamp, rgb in read_video(clip):
            time = SimpleNamespace(sec=stamp // 10**9, nanosec=stamp % 10**9)
            header = SimpleNamespace(stamp=time, frame_id=FRAME_ID)
            message = make_message(IMAGE, header, image_fields(rgb, 'rgb8'))
            writer.write(connection, stamp, serialize(message, IMAGE))
            count += 1
            progress(count, max(expected, count))
    return count


def overlay_frames(bag: Path, topic: str) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (stamp in nanoseconds, RGB (H, W, 3) uint8) of the rgb8 images of a topic."""
    with open_bag(bag) as opened:
        for _, image in opened.frames(opened.topic(topic)):
            if isinstance(image, Image):
                yield stamp_ns(image.header), image.pixels


def write_video(bag: Path, topic: str, output: Path) -> int:
    """Write the images of a topic as a video, each at its own time; return how many there were."""
    with video_writer(output) as video:
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
