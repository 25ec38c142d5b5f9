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
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rosbags.rosbag2 import StoragePlugin, Writer
from tqdm import tqdm

from lemore_core.common.errors import LemoreError
from lemore_core.common.files import write_whole
from lemore_core.export.onnx_file import read_model_card
from lemore_core.segmenter import network_size, resolve_checkpoint
from lemore_ros.bags.writer import VERSION
from lemore_ros.share import image_profile, share_directory
from lemore_ros.tools.demo_media import (
    overlay_frames,
    write_bag,
    write_contact_sheet,
    write_video,
)
from lemore_ros.tools.processes import NODE, isolated_graph, start_node, wait_until
from lemore_ros.tools.recorder import Recorder

TOPIC = '/camera/image'
ENOUGH = 0.95
COUNTS = ('received', 'dropped', 'accepted', 'labelled', 'failed')
SETTLE_S = 15.0


def main(args: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    parser = argparse.ArgumentParser('lemore_demo', description=__doc__)
    parser.add_argument('--output', type=Path, default=Path('out/demo'), help='out/demo')
    parser.add_argument('--clip', type=Path, help='a video file; the shipped motorway drive')
    parser.add_argument('--model', default='tiny', help='tiny, or the path of a checkpoint')
    parser.add_argument('--backend', default='auto', help='auto, onnxruntime or torch')
    arguments = parser.parse_args(args)
    try:
        summary = run_demo(
            arguments.clip or share_directory() / 'config' / 'demo' / 'solid_white_right.mp4',
            arguments.output,
            model=arguments.model,
            backend=arguments.backend,
        )
    except LemoreError as error:
        print(f'demo: {error}', file=sys.stderr)
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
    with tqdm(desc='clip to bag', unit='frame', disable=None) as bar:
        frames = write_bag(clip, camera, TOPIC, partial(_advance, bar))
    # preparing at start for the camera's size spares the first frames the wait
    pixels = next(overlay_frames(camera, TOPIC))[1]
    trained = (card.config.height, card.config.width)
    height, width = network_size(trained, (pixels.shape[0], pixels.shape[1]))
    parameters = {
        'model': model,
        'backend': backend,
        'network_height': height,
        'network_width': width,
    }
    summary = _play_through(output, parameters, frames)
    if summary['recorded']:
        prefix = f'{NODE}/overlay'
        count = write_video(segmented, prefix, output / 'overlay.mp4')
        write_contact_sheet(segmented, prefix, count, card.taxonomy, output / 'overlay.png')
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
            start_node(parameters, output / 'node.log', {}, image_topic=TOPIC) as node,
            Writer(temporary, version=VERSION, storage_plugin=StoragePlugin.MCAP) as writer,
            closing(Recorder(writer, TOPIC)) as recorder,
            tqdm(desc='segmenting', unit='frame', disable=None) as bar,
        ):
            wait_until(lambda: recorder.is_connected, 'the node is ready', node, spin=recorder.spin)
            for _ in recorder.play(output / 'camera'):
                node.check()
                _advance(bar, len(recorder.published_ns), frames)
            # the diagnostics are a second apart: wait for one that was made after the last frame
            recorder.spin(2.5)
            deadline = time.monotonic() + SETTLE_S
            while has_open_frames(recorder.values) and time.monotonic() < deadline:
                node.check()
                recorder.spin(0.1)
            _advance(bar, len(recorder.published_ns), frames)
    finally:
        rclpy.try_shutdown()
    shutil.rmtree(segmented, ignore_errors=True)
    temporary.rename(segmented)
    return summarise(recorder.sent, recorder.values, recorder.published_ns, recorder.latencies_ms)


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


def _advance(bar: Any, position: int, total: int) -> None:
    bar.total = total
    bar.update(position - bar.n)


if __name__ == '__main__':
    sys.exit(main())
