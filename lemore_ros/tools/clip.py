"""Turns a video file into a rosbag2 of camera messages."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from lemore_core.video import VideoError, frames_expected, read_video

IMAGE = 'sensor_msgs/msg/Image'
FRAME_ID = 'camera'
BAG_VERSION = 9


def write_bag(clip: Path, bag: Path, topic: str, progress: Callable[[int, int], None]) -> int:
    """Write the frames of ``clip`` as bgr8 images on ``topic`` into ``bag`` (mcap, zstd).

    Stamps count from zero. ``progress`` is called with (frames written, frames in all). Returns the
    number of frames. An older bag of that name is replaced when the new one is whole.

    Raises:
        VideoError: the video cannot be read or holds no frames.

    """
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
    store = get_typestore(Stores.ROS2_JAZZY)
    image, header = store.types[IMAGE], store.types['std_msgs/msg/Header']
    time = store.types['builtin_interfaces/msg/Time']
    writer = Writer(bag, version=BAG_VERSION, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    count = 0
    with writer:
        connection = writer.add_connection(topic, IMAGE, typestore=store)
        for stamp, rgb in read_video(clip):
            pixels = np.ascontiguousarray(rgb[..., ::-1])
            height, width = pixels.shape[:2]
            message = image(
                header=header(time(stamp // 10**9, stamp % 10**9), FRAME_ID),
                height=height,
                width=width,
                encoding='bgr8',
                is_bigendian=0,
                step=width * 3,
                data=pixels.reshape(-1),
            )
            writer.write(connection, stamp, store.serialize_cdr(message, IMAGE))
            count += 1
            progress(count, max(expected, count))
    return count
