"""The demo's parts, and the demo itself on the first second of the clip."""

from __future__ import annotations

import json
import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from lemore_core.images.video import VideoError
from lemore_core.taxonomy import load_taxonomy
from lemore_ros.messages.common import read_stamp, write_stamp
from lemore_ros.tools import demo
from lemore_ros.tools.demo import is_good, summarise
from lemore_ros.tools.demo_media import (
    overlay_frames,
    write_bag,
    write_contact_sheet,
    write_video,
)

ROOT = Path(__file__).parents[3]
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


@pytest.fixture(scope='module')
def bag(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('bag') / 'camera'
    seen: list[tuple[int, int]] = []
    assert write_bag(clip, path, '/camera/image', lambda *done: seen.append(done)) == 25
    assert sorted(file.name for file in path.iterdir()) == [f'{path.name}.mcap', 'metadata.yaml']
    assert list(path.parent.glob('.*')) == []
    assert seen[-1] == (25, 25)
    return path


def test_a_clip_becomes_camera_messages(bag: Path) -> None:
    with Reader(bag) as reader:
        assert [c.topic for c in reader.connections] == ['/camera/image']
        messages = [
            (stamp, STORE.deserialize_cdr(data, c.msgtype)) for c, stamp, data in reader.messages()
        ]
    assert [stamp for stamp, _ in messages] == [i * 40_000_000 for i in range(25)]
    for i, (stamp, message) in enumerate(messages):
        assert (message.height, message.width, message.step) == (96, 128, 384)
        assert (message.encoding, message.header.frame_id) == ('rgb8', 'camera')
        assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == stamp
        assert abs(float(message.data.mean()) - 10 * i) < 4


def test_a_file_that_is_no_video_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / 'clip.mp4').write_bytes(b'no video')
    with pytest.raises(VideoError, match=r'clip\.mp4 is no readable video'):
        write_bag(tmp_path / 'clip.mp4', tmp_path / 'bag', '/image', lambda *_: None)
    assert [path.name for path in tmp_path.iterdir()] == ['clip.mp4']


def test_a_stamp_is_set_and_read_in_serialised_messages(bag: Path) -> None:
    with Reader(bag) as reader:
        connection, _, raw = next(iter(reader.messages()))
    data = bytearray(raw)
    write_stamp(data, 1_700_000_000_123_456_789)
    assert read_stamp(bytes(data)) == 1_700_000_000_123_456_789
    message = STORE.deserialize_cdr(bytes(data), connection.msgtype)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    assert message.header.frame_id == 'camera'


@pytest.fixture
def overlays(tmp_path: Path) -> Path:
    """A bag of twelve rgb8 images of odd size, 100 ms apart, each of one red."""
    store, path = STORE, tmp_path / 'overlays'
    header, time = store.types['std_msgs/msg/Header'], store.types['builtin_interfaces/msg/Time']
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        name = 'sensor_msgs/msg/Image'
        connection = writer.add_connection('/overlay', name, typestore=store)
        for i in range(12):
            stamp = 5 * 10**9 + i * 10**8
            pixels = np.zeros((61, 91, 3), np.uint8)
            pixels[..., 0] = 20 * i
            message = store.types[name](
                header=header(time(stamp // 10**9, stamp % 10**9), 'camera'),
                height=61,
                width=91,
                encoding='rgb8',
                is_bigendian=0,
                step=273,
                data=pixels.reshape(-1),
            )
            writer.write(connection, stamp, store.serialize_cdr(message, name))
    return path


def test_overlays_become_a_video_in_real_time(overlays: Path, tmp_path: Path) -> None:
    output = tmp_path / 'overlay.mp4'
    assert write_video(overlays, '/overlay', output) == 12
    with av.open(str(output)) as container:
        assert container.streams.video[0].codec_context.name == 'h264'
        frames = list(container.decode(video=0))
    assert [round(float(frame.time), 3) for frame in frames] == [
        round(i / 10, 3) for i in range(12)
    ]
    reds = [frame.to_ndarray(format='rgb24')[..., 0].mean() for frame in frames]
    assert np.abs(np.array(reds) - 20 * np.arange(12)).max() < 8


def test_six_overlays_become_a_contact_sheet(overlays: Path, tmp_path: Path) -> None:
    output = tmp_path / 'sheet.png'
    write_contact_sheet(overlays, '/overlay', 12, load_taxonomy('camvid'), output)
    sheet = cv2.imread(str(output))
    assert sheet is not None
    assert sheet.shape[1] == 3 * 480
    reds = [int(sheet[100 + 322 * r, 240 + 480 * c, 2]) for r in range(2) for c in range(3)]
    assert reds == [20 * i for i in (1, 3, 5, 7, 9, 11)]
    assert len(list(overlay_frames(overlays, '/overlay'))) == 12


def test_too_few_label_images_are_a_failure() -> None:
    good = summarise({'labels': 90, 'node': {'received': '98', 'dropped': '8', 'accepted': '90'}})
    assert is_good(good)
    assert not is_good(good | {'recorded': 85})
    assert not is_good(summarise({}))


def test_the_demo_runs_through(
    clip: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PYTHONPATH', f'{ROOT}:{os.environ.get("PYTHONPATH", "")}')
    arguments = ['--clip', clip, '--model', exported, '--output', tmp_path]
    arguments += ['--backend', 'onnxruntime']
    assert demo.main([str(argument) for argument in arguments]) == 0
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


def test_a_demo_with_a_missing_model_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(['--output', str(tmp_path), '--model', 'gone.safetensors']) == 2
    assert 'demo: there is no checkpoint gone.safetensors' in capsys.readouterr().err
