"""The demo: a clip played as a camera into the node over DDS, and what came out of it.

Four processes take part: this one, the node, a player that publishes the clip's frames in real
time, and a recorder. Exit status: 0; 1 where fewer than 95% of the frames that the node accepted
came out, or none did; 2 where a part failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lemore_core.common.errors import LemoreError
from lemore_core.common.files import write_whole
from lemore_core.export.model_card import read_model_card
from lemore_core.segmenter import network_size, resolve_checkpoint
from lemore_ros.share import image_profile, share_directory
from lemore_ros.tools.child import Child, isolated_graph, wait_until
from lemore_ros.tools.demo_media import (
    overlay_frames,
    write_bag,
    write_contact_sheet,
    write_video,
)

TOPIC = '/camera/image'
NODE = '/lemore_segmentation'
ENOUGH = 0.95
COUNTS = ('received', 'dropped', 'accepted', 'labelled', 'failed')
START_S = 120.0
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
    """Play ``clip`` into the node, record, draw, and return the figures.

    Writes ``camera`` and ``segmented`` (bags), ``overlay.mp4``, ``overlay.png``, ``summary.json``
    and a log for each process into ``output``.

    Raises:
        LemoreError: the clip or the model cannot be read, or a process failed.
    """
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
    summary = summarise(_play_through(output, camera, segmented, parameters, frames))
    if summary['recorded']:
        prefix = f'{NODE}/overlay'
        count = write_video(segmented, prefix, output / 'overlay.mp4')
        write_contact_sheet(segmented, prefix, count, card.taxonomy, output / 'overlay.png')
    write_whole(output / 'summary.json', json.dumps(summary, indent=2) + '\n')
    return summary


def _play_through(
    output: Path, camera: Path, segmented: Path, parameters: dict[str, object], frames: int
) -> dict[str, Any]:
    """Run node, recorder and player to the end; return what they reported."""
    temporary = segmented.with_name(f'.{segmented.name}.part')
    shutil.rmtree(temporary, ignore_errors=True)
    # a robot on the same network must neither see the demo's camera nor be seen by it
    environment = isolated_graph() | image_profile(os.environ)
    node_arguments = ['--ros-args', '-r', f'image:={TOPIC}']
    for name, value in parameters.items():
        node_arguments += ['-p', f'{name}:={value}']

    def child(name: str, module: str, *arguments: str) -> Child:
        return Child(name, module, arguments, output / f'{name}.log', environment)

    with ExitStack() as stack:
        node = child('node', 'lemore_ros.node.segmentation_node', *node_arguments)
        stack.enter_context(node)
        recorder = stack.enter_context(
            child('recorder', 'lemore_ros.tools.recorder', str(temporary), '--prefix', NODE)
        )
        wait_until(
            lambda: 'ready' in recorder.poll(), START_S, 'the node is ready', (node, recorder)
        )
        player = stack.enter_context(
            child('player', 'lemore_ros.tools.player', str(camera), '--topic', TOPIC)
        )
        with tqdm(desc='segmenting', unit='frame', disable=None) as bar:
            while not player.ended:
                for process in (node, recorder, player):
                    process.check()
                _advance(bar, recorder.poll().get('labels', 0), frames)
                time.sleep(0.05)
            player.check()
            _settle(node, recorder)
            _advance(bar, recorder.poll().get('labels', 0), frames)
        player.stop()
        recorder.stop()
        recorder.check()
    shutil.rmtree(segmented, ignore_errors=True)
    temporary.rename(segmented)
    return {**player.poll(), **recorder.poll()}


def _settle(node: Child, recorder: Child) -> None:
    """Wait until the node's own counts say that it has worked off what it took."""
    deadline = time.monotonic() + SETTLE_S
    # its diagnostics are a second apart: let one come that was made after the last frame
    after = time.monotonic() + 2.5
    while time.monotonic() < deadline:
        node.check()
        counts = recorder.poll().get('node', {})
        open_frames = int(counts.get('accepted', 0)) - int(counts.get('labelled', 0))
        if time.monotonic() > after and counts and open_frames <= int(counts.get('failed', 0)):
            return
        time.sleep(0.1)


def summarise(reports: dict[str, Any]) -> dict[str, float]:
    """Return what went in and what came out, of what recorder and player reported.

    ``received`` by the node were either ``dropped`` for a newer frame or ``accepted`` by its
    worker; ``recorded`` are the label images that arrived. ``latency`` is from the camera's stamp
    to the publication of the labels.
    """
    counts = reports.get('node', {})
    latencies = np.asarray(reports.get('latencies_ms', []), np.float64)
    median, p95 = np.percentile(latencies, [50, 95]) if latencies.size else (np.nan, np.nan)
    return {
        'sent': reports.get('sent', 0),
        **{name: int(counts.get(name, 0)) for name in COUNTS},
        'recorded': reports.get('labels', 0),
        'latency_median_ms': round(float(median), 1),
        'latency_p95_ms': round(float(p95), 1),
        'rate_hz': round(reports.get('rate_hz', 0.0), 1),
    }


def is_good(summary: dict[str, float]) -> bool:
    """Say whether nearly all that the node accepted came out as label images."""
    return summary['recorded'] >= ENOUGH * summary['accepted'] > 0


def _advance(bar: Any, position: int, total: int) -> None:
    bar.total = total
    bar.update(position - bar.n)


if __name__ == '__main__':
    sys.exit(main())
