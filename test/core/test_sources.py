from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError
from lemore_core.images.video import video_writer
from lemore_core.sources import error_lines, open_sources


def write(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((32, 48, 3), number, np.uint8))


@pytest.fixture
def clip(tmp_path: Path, clip_frames: list[NDArray[np.uint8]]) -> Path:
    path = tmp_path / 'my_clip.mp4'
    with video_writer(path) as video:
        for number, frame in enumerate(clip_frames):
            video.write(number * 10**8, frame[..., ::-1])
    return path


def test_drives_are_the_names_of_images_the_folder_or_the_video(tmp_path: Path, clip: Path) -> None:
    write(tmp_path / 'camvid', '0001TP_1.png', '0001TP_2.jpg', '06R_1.png', '.hidden/07_1.png')
    write(tmp_path / 'my_orchard', 'deep/frame_1.png', 'deep/frame_2.png')
    (tmp_path / 'camvid' / 'notes.txt').touch()
    sources = open_sources([tmp_path / 'camvid', tmp_path / 'my_orchard', clip, '3'])
    assert [(one.name, one.drive, one.expected, one.is_moving) for one in sources] == [
        ('0001TP', '0001TP', 2, False),
        ('06R', '06R', 1, False),
        ('my-orchard', 'my-orchard', 2, False),
        ('my_clip', 'my-clip', 5, True),
        ('camera3', 'camera3', None, True),
    ]
    frames = list(sources[2].frames())
    names = ('deep/frame_1', 'deep/frame_2')
    assert [(f.drive, f.name, f.stamp_ns) for f in frames] == [
        ('my-orchard', name, None) for name in names
    ]
    assert frames[1].path == tmp_path / 'my_orchard' / 'deep' / 'frame_2.png'
    assert frames[1].image.pixels.shape == (32, 48, 3)
    assert [(f.name, f.stamp_ns) for f in sources[3].frames()] == [
        (f'{number:06}', number * 10**8) for number in range(5)
    ]


def test_what_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    write(tmp_path / 'in', 'a.png', 'c.png')
    (tmp_path / 'in' / 'b.png').write_bytes(b'no image')
    (images,) = open_sources([tmp_path / 'in'], 32 * 48)
    assert [frame.name for frame in images.frames()] == ['a', 'c']
    (line,) = error_lines([images])
    assert line.startswith(f'in: {tmp_path / "in" / "b.png"} is no readable image')
    (small,) = open_sources([tmp_path / 'in' / 'a.png'], 10)
    assert not list(small.frames())
    assert 'allowed: up to 10 (max_pixels)' in error_lines([small])[0]


def test_inputs_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.mp4').write_text('no video')
    for name, message in (
        ('gone.png', r'no file or folder .*gone\.png'),
        ('empty', 'holds no images'),
        ('text.mp4', r'text\.mp4 is no readable video: .*; images end in \.png, .*; bags are read'),
    ):
        with pytest.raises(LemoreError, match=message):
            open_sources([tmp_path / name])
    for text in ('²', '12345', '-1'):
        with pytest.raises(LemoreError, match='it is no number of a camera'):
            open_sources([text])
