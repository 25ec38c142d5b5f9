from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from known_drives import (
    BUILDING,
    CAMERA,
    HEIGHT,
    NODE,
    ROAD,
    START_NS,
    STEP_NS,
    WIDTH,
    Message,
    drive_messages,
    said_labels,
    write_messages,
)
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError
from lemore_core.images.render import legend
from lemore_core.taxonomy import load_taxonomy
from lemore_ros.bags.evaluation.image_sequence import ImageSequence
from lemore_ros.bags.evaluation.label_sources import RecordedLabels
from lemore_ros.bags.evaluation.video import (
    OUT_OF_ORDER,
    SCALED,
    SIDE_BY_SIDE,
    UNLABELLED,
    VideoStyle,
    VideoSummary,
    write_video,
)

CAMVID = load_taxonomy('camvid')
LABELS = f'{NODE}/labels'
BARE = VideoStyle(has_legend=False, has_stamps=False)


def film(drive: Path, output: Path, look: VideoStyle) -> VideoSummary:
    return write_video(
        ImageSequence(drive, CAMERA),
        RecordedLabels(drive, LABELS, 'camvid', 5_000_000),
        output,
        look,
    )


def read(path: Path) -> tuple[list[float], list[NDArray[np.uint8]]]:
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == 'h264'
        frames = list(container.decode(video=0))
    return [float(frame.time) for frame in frames], [f.to_ndarray(format='rgb24') for f in frames]


def drive_at(path: Path, seconds: Sequence[float], size: tuple[int, int] = (96, 160)) -> Path:
    """Write grey images that are labelled road, at these seconds."""
    messages = []
    for i, second in enumerate(seconds):
        stamp, received = START_NS + round(second * 1e9), START_NS + i * STEP_NS
        grey, labels = np.full(size, 128, np.uint8), np.full(size, ROAD, np.uint8)
        messages += [
            Message(CAMERA, stamp, grey, 'mono8', received),
            Message(LABELS, stamp, labels, 'mono8', received),
        ]
    return write_messages(path, messages)


def near(pixel: Any, color: Any) -> bool:
    return bool(np.abs(np.subtract(pixel, color, dtype=float)).max() < 16)


def test_the_drive_keeps_its_timing(tmp_path: Path) -> None:
    seconds = [0, 0.1, 0.15, 0.4, 2.4, 2.45]
    drive = drive_at(tmp_path / 'drive', seconds)
    summary = film(drive, tmp_path / 'new' / 'drive.mp4', BARE)
    times, _ = read(tmp_path / 'new' / 'drive.mp4')
    assert times == pytest.approx(seconds, abs=1e-4)
    assert (summary.frames, summary.seconds) == (6, 2.45)
    assert not summary.error_counts
    assert [p.name for p in (tmp_path / 'new').iterdir()] == ['drive.mp4']


def test_an_overlay_has_both_and_side_by_side_has_each(tmp_path: Path) -> None:
    drive = drive_at(tmp_path / 'drive', [0, 0.1])
    color = np.array(CAMVID.colors[ROAD], float)
    film(drive, tmp_path / 'a.mp4', VideoStyle(alpha=0.25, has_legend=False, has_stamps=False))
    _, (frame, _) = read(tmp_path / 'a.mp4')
    assert frame.shape == (96, 160, 3)
    assert near(frame[48, 80], 0.25 * color + 0.75 * 128)
    film(drive, tmp_path / 'b.mp4', VideoStyle(SIDE_BY_SIDE, has_legend=False, has_stamps=False))
    _, (frame, _) = read(tmp_path / 'b.mp4')
    assert frame.shape == (96, 320, 3)
    assert near(frame[48, 80], 128)
    assert near(frame[48, 240], color)


def test_legend_and_stamps_are_drawn(tmp_path: Path) -> None:
    drive = drive_at(tmp_path / 'drive', [0, 0.1], size=(120, 640))
    film(drive, tmp_path / 'drive.mp4', VideoStyle())
    _, (frame, _) = read(tmp_path / 'drive.mp4')
    key = legend(CAMVID, 640)
    assert frame.shape == (120 + key.shape[0], 640, 3)
    assert np.abs(frame[120:].astype(float) - key).mean() < 8
    corner, beside = frame[104:118, 4:200], frame[104:118, 600:]
    assert corner.max() > 200, 'white letters'
    assert corner.min() < 60, 'on dark'
    assert near(beside, beside[0, 0]), 'the text has an end'


def test_wide_frames_are_shrunk(tmp_path: Path) -> None:
    drive = drive_at(tmp_path / 'drive', [0, 0.1], size=(101, 333))
    look = VideoStyle(has_legend=False, has_stamps=False, max_width=150)
    film(drive, tmp_path / 'drive.mp4', look)
    assert read(tmp_path / 'drive.mp4')[1][0].shape == (46, 150, 3)


def test_what_does_not_fit_is_handled_and_said(tmp_path: Path) -> None:
    messages = drive_messages([0.5] * 3)
    stamps = [START_NS + i * STEP_NS for i in range(8)]
    tall = np.full((HEIGHT * 2, WIDTH), 255, np.uint8)
    messages += [
        Message(CAMERA, stamps[3], tall),
        Message(LABELS, stamps[3], np.full_like(tall, BUILDING)),
        Message(CAMERA, stamps[1], said_labels(), 'mono8', stamps[4]),
        Message(CAMERA, stamps[5], said_labels()),
    ]
    drive = write_messages(tmp_path / 'drive', messages)
    summary = film(drive, tmp_path / 'drive.mp4', BARE)
    assert summary.error_counts[OUT_OF_ORDER] == 1
    assert summary.error_counts[SCALED] == 1
    assert summary.error_counts[UNLABELLED] == 1
    times, frames = read(tmp_path / 'drive.mp4')
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.5], abs=1e-4)
    assert near(frames[3][24, 4], 0), 'black beside what is narrower'
    assert near(frames[3][24, 32], np.add(CAMVID.colors[BUILDING], 255) / 2)


def test_a_drive_of_one_frame_is_a_video(tmp_path: Path) -> None:
    drive = drive_at(tmp_path / 'drive', [0], size=(9, 11))
    summary = film(drive, tmp_path / 'drive.mp4', VideoStyle())
    assert summary.frames == 1
    assert summary.rate_hz != summary.rate_hz
    assert len(read(tmp_path / 'drive.mp4')[0]) == 1


@pytest.mark.parametrize(
    ('name', 'message'),
    [('drive.webp', r'must be called \*\.mp4'), ('file/drive.mp4', 'cannot be written')],
)
def test_a_file_that_cannot_be_written_is_refused(
    drive: Path, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(LemoreError, match=message):
        film(drive, tmp_path / name, BARE)


@pytest.mark.parametrize(
    'values', [{'layout': 'round'}, {'alpha': 1.1}, {'alpha': float('nan')}, {'max_width': 8}]
)
def test_a_look_out_of_bounds_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(LemoreError, match=f'{next(iter(values))} is'):
        VideoStyle(**values)
