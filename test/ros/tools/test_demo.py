"""The demo on a short clip, and its parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from lemore_core.images.video import VideoError
from lemore_core.taxonomy import load_taxonomy
from lemore_ros.messages.common import read_stamp
from lemore_ros.tools import demo

STORE = get_typestore(Stores.ROS2_JAZZY)


@pytest.fixture(scope='module')
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 25 frames, each of one grey, ever brighter."""
    path = tmp_path_factory.mktemp('clip') / 'clip.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, 'yuv420p'
        for i in range(25):
            pixels = np.full((96, 128, 3), 10 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        container.mux(stream.encode(None))
    return path


def test_a_clip_becomes_camera_messages(clip: Path, tmp_path: Path) -> None:
    bag = tmp_path / 'camera'
    assert demo.write_bag(clip, bag, '/camera/image') == 25
    assert sorted(file.name for file in bag.iterdir()) == ['camera.mcap', 'metadata.yaml']
    assert list(tmp_path.iterdir()) == [bag]
    with Reader(bag) as reader:
        assert [c.topic for c in reader.connections] == ['/camera/image']
        found = [(stamp, data, c.msgtype) for c, stamp, data in reader.messages()]
    for i, (stamp, raw, kind) in enumerate(found):
        message = STORE.deserialize_cdr(raw, kind)
        assert (message.height, message.width, message.step) == (96, 128, 384)
        assert (message.encoding, message.header.frame_id) == ('rgb8', 'camera')
        assert read_stamp(raw) == stamp == i * 40_000_000
        assert abs(float(message.data.mean()) - 10 * i) < 4


def test_a_file_that_is_no_video_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / 'clip.mp4').write_bytes(b'no video')
    with pytest.raises(VideoError, match=r'clip\.mp4 is no readable video'):
        demo.write_bag(tmp_path / 'clip.mp4', tmp_path / 'bag', '/image')
    assert [path.name for path in tmp_path.iterdir()] == ['clip.mp4']


def test_images_become_a_video_in_real_time_and_a_contact_sheet(clip: Path, tmp_path: Path) -> None:
    bag = tmp_path / 'camera'
    demo.write_bag(clip, bag, '/image')
    assert demo.write_video(bag, '/image', tmp_path / 'overlay.mp4') == 25
    with av.open(str(tmp_path / 'overlay.mp4')) as container:
        assert container.streams.video[0].codec_context.name == 'h264'
        frames = list(container.decode(video=0))
    times = [round(float(frame.time or 0), 3) for frame in frames]
    assert times == [round(i / 25, 3) for i in range(25)]
    greys = [frame.to_ndarray(format='rgb24').mean() for frame in frames]
    assert np.abs(np.array(greys) - 10 * np.arange(25)).max() < 8

    demo.write_contact_sheet(bag, '/image', 25, load_taxonomy('camvid'), tmp_path / 'sheet.png')
    sheet = cv2.imread(str(tmp_path / 'sheet.png'))
    assert sheet is not None
    assert sheet.shape[1] == 3 * 480
    shown = [int(sheet[100 + 360 * r, 240 + 480 * c, 2]) for r in range(2) for c in range(3)]
    assert np.abs(np.array(shown) - [10 * i for i in (2, 6, 10, 14, 18, 22)]).max() < 5


def test_too_few_label_images_are_a_failure() -> None:
    counts = {'received': '98', 'dropped': '8', 'accepted': '90', 'labelled': '90', 'failed': '0'}
    good = demo.summarise(98, counts, [40_000_000 * i for i in range(90)], [10.0, 12.0, 14.0])
    assert (good['rate_hz'], good['latency_median_ms'], good['recorded']) == (25.0, 12.0, 90)
    assert demo.is_good(good)
    assert not demo.is_good(good | {'recorded': 85})
    assert not demo.is_good(demo.summarise(98, {}, [], []))
    assert not demo.has_open_frames(counts)
    assert demo.has_open_frames(counts | {'labelled': '89'})
    assert demo.has_open_frames({})


def test_the_demo_runs_through(clip: Path, exported: Path, tmp_path: Path, run_python: Any) -> None:
    arguments = ['--clip', clip, '--model', exported, '--output', tmp_path]
    run_python('-m', 'lemore_ros.tools.demo', *arguments, '--backend', 'onnxruntime')
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['sent'] == 25
    assert summary['recorded'] >= 0.95 * summary['accepted'] > 0
    assert summary['latency_p95_ms'] >= summary['latency_median_ms'] > 0
    for name in ('overlay.mp4', 'overlay.png', 'camera/metadata.yaml', 'segmented/metadata.yaml'):
        assert (tmp_path / name).stat().st_size > 0
    with Reader(tmp_path / 'segmented') as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
    assert counts['/lemore_segmentation/labels'] == summary['recorded']
    assert counts['/lemore_segmentation/classes'] == 1


def test_a_missing_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(['--output', str(tmp_path), '--model', 'gone.safetensors']) == 2
    assert 'demo: there is no checkpoint gone.safetensors' in capsys.readouterr().err
