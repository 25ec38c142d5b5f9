"""Play a clip as a camera into the node over DDS, and show the labels.

Exit status: 0; 1 where label images came out of fewer than 95% of the frames that the node accepted,
or of none; 2 for a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import String
from tqdm import tqdm

from lemore_core.common.errors import LemoreError, in_one_line
from lemore_core.common.files import write_whole
from lemore_core.export.onnx_file import read_model_card
from lemore_core.images.files import write_image
from lemore_core.images.image import Image
from lemore_core.images.render import legend
from lemore_core.images.video import VideoError, frames_expected, read_video, video_writer
from lemore_core.segmenter import network_size, resolve_checkpoint
from lemore_core.taxonomy import Taxonomy
from lemore_ros.bags.reader import open_bag
from lemore_ros.bags.writer import VERSION, make_message, output_types, serialize
from lemore_ros.messages.common import read_stamp, stamp_ns, write_stamp
from lemore_ros.messages.images import image_fields
from lemore_ros.node.qos import latched
from lemore_ros.outputs import IMAGE, OUTPUTS
from lemore_ros.share import image_profile, share_directory
from lemore_ros.tools.probe import NODE, Peer, isolated_graph, start_node, wait_until

TOPIC, FRAME_ID = '/camera/image', 'camera'
IMAGES = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
RECORDED = ('labels', 'confidence', 'color', 'overlay', 'classes')
ENOUGH = 0.95
COUNTS = ('received', 'dropped', 'accepted', 'labelled', 'failed')
SETTLE_S = 15.0
COLUMNS, ROWS, TILE_WIDTH = 3, 2, 480


def main(args: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    parser = argparse.ArgumentParser('lemore_demo', description=__doc__)
    parser.add_argument('--output', type=Path, default=Path('out/demo'), help='out/demo')
    parser.add_argument('--clip', type=Path, help='a video file; the shipped motorway drive')
    parser.add_argument('--model', default='tiny', help='tiny, or the path of a checkpoint')
    parser.add_argument('--backend', default='auto', help='auto, onnxruntime or torch')
    given = parser.parse_args(args)
    clip = given.clip or share_directory() / 'config' / 'demo' / 'solid_white_right.mp4'
    try:
        summary = run_demo(clip, given.output, model=given.model, backend=given.backend)
    except (LemoreError, rclpy_implementation.RCLError) as error:
        print(f'demo: {in_one_line(error)}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    for name, value in summary.items():
        print(f'{name:<18} {value}')
    if is_good(summary):
        return 0
    found = '{recorded} label images came out of {accepted} accepted frames'.format(**summary)
    print(f'demo: {found}, expected at least {100 * ENOUGH:.0f}%', file=sys.stderr)
    return 1


def run_demo(clip: Path, output: Path, *, model: str, backend: str) -> dict[str, float]:
    """Play ``clip`` into the node, record and draw into ``output``, and return the figures."""
    output.mkdir(parents=True, exist_ok=True)
    card = read_model_card(resolve_checkpoint(model))
    camera, segmented = output / 'camera', output / 'segmented'
    frames = write_bag(clip, camera, TOPIC)
    # preparing at start for the camera's size spares the first frames the wait
    pixels = next(images_of(camera, TOPIC))[1]
    trained = (card.config.height, card.config.width)
    height, width = network_size(trained, (pixels.shape[0], pixels.shape[1]))
    size = {'network_height': height, 'network_width': width}
    summary = _play_through(output, {'model': model, 'backend': backend, **size}, frames)
    if summary['recorded']:
        overlays = f'{NODE}/overlay'
        count = write_video(segmented, overlays, output / 'overlay.mp4')
        write_contact_sheet(segmented, overlays, count, card.taxonomy, output / 'overlay.png')
    write_whole(output / 'summary.json', json.dumps(summary, indent=2) + '\n')
    return summary


def _play_through(output: Path, parameters: Mapping[str, object], frames: int) -> dict[str, float]:
    """Play ``camera`` into a node and record ``segmented``; return the figures."""
    temporary, segmented = output / '.segmented.part', output / 'segmented'
    shutil.rmtree(temporary, ignore_errors=True)
    # a robot on the same network must neither see the demo's camera nor be seen by it
    os.environ.update(isolated_graph() | image_profile(os.environ))
    rclpy.init(args=[])
    try:
        with (
            start_node(parameters, output / 'node.log', {}, image=TOPIC) as node,
            Writer(temporary, version=VERSION, storage_plugin=StoragePlugin.MCAP) as writer,
            closing(Recorder(writer, TOPIC)) as recorder,
        ):
            wait_until(lambda: recorder.is_ready, 'the node is ready', node, spin=recorder.spin)
            for _ in _bar(recorder.play(output / 'camera'), 'segmenting', frames):
                node.check()
            # the diagnostics are a second apart: wait for one that was made after the last frame
            recorder.spin(2.5)
            deadline = time.monotonic() + SETTLE_S
            while has_open_frames(recorder.values) and time.monotonic() < deadline:
                node.check()
                recorder.spin(0.1)
    finally:
        rclpy.try_shutdown()
    shutil.rmtree(segmented, ignore_errors=True)
    temporary.rename(segmented)
    return summarise(recorder.sent, recorder.values, recorder.published_ns, recorder.latencies_ms)


class Recorder(Peer):
    """Publish a bag and record the outputs; times are the middleware's stamps."""

    def __init__(self, writer: Writer, camera_topic: str) -> None:
        super().__init__('lemore_recorder', camera_topic, RECORDED)
        self.sent, self._writer = 0, writer
        self.published_ns: list[int] = []
        for name, topic in zip(RECORDED, self.topics, strict=True):
            kind = OUTPUTS[name].type
            self._record(name, writer.add_connection(topic, kind, typestore=output_types()))

    def play(self, bag: Path) -> Iterator[None]:
        """Publish the images of a bag in real time with stamps of now; yield after each."""
        with Reader(bag) as reader:
            started = time.monotonic() - reader.start_time / 1e9
            for _, bag_time, raw in reader.messages():
                data = bytearray(raw)
                self.spin(started + bag_time / 1e9 - time.monotonic())
                write_stamp(data, time.time_ns())
                self.camera.publish(bytes(data))
                self.sent += 1
                yield

    def _record(self, name: str, connection: Connection) -> None:
        def on_message(data: bytes, info: dict[str, Any]) -> None:
            self._writer.write(connection, info['received_timestamp'], data)
            if name == 'labels':
                published = info['source_timestamp']
                self.published_ns.append(published)
                self.latencies_ms.append((published - read_stamp(data)) / 1e6)

        kind, qos = (String, latched()) if OUTPUTS[name].is_latched else (ImageMessage, IMAGES)
        self.node.create_subscription(kind, connection.topic, on_message, qos, raw=True)


def has_open_frames(counts: Mapping[str, str]) -> bool:
    """Return whether accepted frames are neither labelled nor failed by the node's counts."""
    accepted, labelled, failed = (int(counts.get(name, 0)) for name in COUNTS[2:])
    return not counts or accepted > labelled + failed


def summarise(
    sent: int, counts: Mapping[str, str], published_ns: Sequence[int], latencies_ms: Sequence[float]
) -> dict[str, float]:
    """Return the counts, milliseconds from the camera's stamp to its labels, and their rate."""
    median, p95 = np.percentile(latencies_ms or [np.nan], [50, 95])
    seconds = (max(published_ns) - min(published_ns)) / 1e9 if published_ns else 0.0
    return {
        'sent': sent,
        **{name: int(counts.get(name, 0)) for name in COUNTS},
        'recorded': len(published_ns),
        'latency_median_ms': round(float(median), 1),
        'latency_p95_ms': round(float(p95), 1),
        'rate_hz': round((len(published_ns) - 1) / seconds, 1) if seconds else 0.0,
    }


def is_good(summary: dict[str, float]) -> bool:
    """Return whether nearly all accepted frames came out as label images."""
    return summary['recorded'] >= ENOUGH * summary['accepted'] > 0


def write_bag(clip: Path, bag: Path, topic: str) -> int:
    """Write a clip as rgb8 images, stamped from zero, into a whole bag; return their number."""
    bag.parent.mkdir(parents=True, exist_ok=True)
    expected, count = frames_expected(clip), 0
    with TemporaryDirectory(dir=bag.parent, prefix=f'.{bag.name}.') as folder:
        # under its own name already, which the file inside gets too
        whole = Path(folder, bag.name)
        writer = Writer(whole, version=VERSION, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            connection = writer.add_connection(topic, IMAGE, typestore=output_types())
            for stamp, rgb in _bar(read_video(clip), 'clip to bag', expected):
                when = SimpleNamespace(sec=stamp // 10**9, nanosec=stamp % 10**9)
                header = SimpleNamespace(stamp=when, frame_id=FRAME_ID)
                message = make_message(IMAGE, header, image_fields(rgb, 'rgb8'))
                writer.write(connection, stamp, serialize(message, IMAGE))
                count += 1
        if count == 0:
            msg = f'{clip} holds no frames'
            raise VideoError(msg)
        shutil.rmtree(bag, ignore_errors=True)
        whole.rename(bag)
    return count


def images_of(bag: Path, topic: str) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (stamp in nanoseconds, RGB (H, W, 3) uint8) of the rgb8 images of a topic."""
    with open_bag(bag) as opened:
        for _, image in opened.frames(opened.topic(topic)):
            if isinstance(image, Image):
                yield stamp_ns(image.header), image.pixels


def write_video(bag: Path, topic: str, output: Path) -> int:
    """Write the images of a topic as a video, each at its own time; return how many there were."""
    with video_writer(output) as video:
        for stamp, pixels in images_of(bag, topic):
            video.write(stamp, pixels)
    return video.count


def write_contact_sheet(bag: Path, topic: str, count: int, names: Taxonomy, output: Path) -> None:
    """Write six of the ``count`` images of a topic, evenly over time, above the legend (PNG)."""
    tiles = COLUMNS * ROWS
    wanted = {count * (2 * i + 1) // (2 * tiles) for i in range(tiles)}
    shown = [pixels for i, (_, pixels) in enumerate(images_of(bag, topic)) if i in wanted]
    # white where there are fewer frames than tiles
    shown += [np.full_like(shown[0], 255)] * (tiles - len(shown))
    size = TILE_WIDTH, round(shown[0].shape[0] * TILE_WIDTH / shown[0].shape[1])
    small = [cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) for pixels in shown]
    rows = [np.hstack(small[r * COLUMNS : (r + 1) * COLUMNS]) for r in range(ROWS)]
    write_image(output, np.vstack([*rows, legend(names, COLUMNS * TILE_WIDTH)]))


def _bar(steps: Any, what: str, total: int) -> Any:
    return tqdm(steps, what, total or None, unit='frame', disable=None)


if __name__ == '__main__':
    sys.exit(main())
