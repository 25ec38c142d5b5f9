"""Video files, and encoded video as cameras send it: one packet, one image."""

from __future__ import annotations

import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lemore_core.common.timeline import Timeline
from lemore_core.images.files import ORIENTATION, decode_image
from lemore_core.images.video import (
    H264,
    H265,
    VideoError,
    VideoStream,
    is_key,
    read_video,
)
from test.encoded_video import GOP, packets_of

Frames = list[NDArray[np.uint8]]
NOISE = np.random.default_rng(0).integers(0, 256, (20, 96, 128, 3), np.uint8)


@pytest.fixture(scope='module')
def frames(clip_frames: Frames) -> Frames:
    return [
        np.ascontiguousarray(cv2.resize(clip_frames[0], (320, 180))[..., ::-1]) // (1 + index % 3)
        for index in range(2 * GOP)
    ]


def film(
    path: Path,
    frames: Frames,
    *,
    hidden: int = 0,
    codec: str = 'libx264',
    b_frames: int = 0,
    aspect: int = 1,
) -> Path:
    """Write a video whose first images an edit list hides, as phones trim; it can be turned."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        stream.height, stream.width = frames[0].shape[:2]
        kinds = {'ffv1': 'gray16le', 'mjpeg': 'yuvj420p', 'gif': 'rgb8'}
        stream.pix_fmt = kinds.get(codec, 'yuv420p')
        stream.set_display_rotation(-90)
        kind = 'gray16le' if frames[0].dtype == np.uint16 else 'rgb24'
        for index, image in enumerate([*frames, None]):
            frame = None if image is None else av.VideoFrame.from_ndarray(image, kind)
            if frame is not None:
                frame.pts, frame.time_base = index, Fraction(1, 25)
            for packet in stream.encode(frame):
                back = int(hidden / 25 / packet.time_base)
                packet.pts, packet.dts = packet.pts - back, packet.dts - back
                container.mux(packet)
    return path


# a, b, c and d of the display matrix for each orientation of Exif
MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


@pytest.mark.parametrize('orientation', MATRICES)
def test_a_video_is_turned_and_mirrored_as_a_photo_is(orientation: int, tmp_path: Path) -> None:
    image = np.zeros((96, 128, 3), np.uint8)
    image[:40, :50] = 250
    path = film(tmp_path / 'phone.mp4', [image])
    content = path.read_bytes()
    a, b, c, d = (65536 * value for value in MATRICES[orientation])
    before, after = ((0, 65536, 0, -65536, 0), (a, b, 0, c, d))
    turned = content.replace(struct.pack('>5i', *before), struct.pack('>5i', *after))
    path.write_bytes(turned)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(image).save(tmp_path / 'photo.png', exif=exif)
    ((_, pixels),) = read_video(path)
    photo = decode_image((tmp_path / 'photo.png').read_bytes())
    assert pixels.shape == photo.shape
    assert np.abs(pixels.astype(int) - photo).mean() < 4


@pytest.mark.parametrize(
    ('stamps', 'times', 'cut'),
    [
        # seconds; None is left out
        ([5, 6, 7], [0, 1, 2], []),
        ([5, 6, 5.5, 6, 7], [0, 1, None, None, 2], []),
        # set by NTP after boot, and back
        ([100, 100.5, 1.7e9, 1.7e9 + 0.5, 101.5], [0, 0.5, 1, 1.5, 2], [1.6999999e9, -1.6999999e9]),
        # a pause over night
        ([5, 6, 36006, 36007], [0, 1, 2, 3], [36000]),
        ([0, 3600], [0, 0.1], [3600]),
        ([-5, -4], [0, 1], []),
    ],
)
def test_jumps_of_stamps_are_cut_out(
    stamps: list[float], times: list[float | None], cut: list[float]
) -> None:
    line = Timeline()
    found = [line.time_ns / 1e9 if line.add(round(stamp * 1e9)) else None for stamp in stamps]
    assert found == times
    assert [round(one / 1e9, -1) for one in line.cut_ns] == cut


def test_what_decodes_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = [np.full((96, 128, 3), 5 * index, np.uint8) for index in range(20)]
    trimmed = film(tmp_path / 'trimmed.mp4', frames, hidden=8)
    assert [time // 10**6 for time, _ in read_video(trimmed)] == [40 * i for i in range(12)]
    assert caplog.messages == [f'{trimmed}: its header counts 20 images, it has 12']
    raw = film(tmp_path / 'raw.h264', frames)
    assert [time // 10**6 for time, _ in read_video(raw)] == [40 * i for i in range(20)]


def test_damage_in_a_file_costs_the_images_that_it_hits(tmp_path: Path) -> None:
    path = film(tmp_path / 'drive.avi', [NOISE[0]] * 9, codec='mjpeg')
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0)]
    content, (place, size) = bytearray(path.read_bytes()), places[4]
    content[place + 20 : place + size] = bytes(size - 20)
    path.write_bytes(content)
    found = []
    with pytest.raises(VideoError, match=r'drive\.avi is damaged: 1 part cannot be read \('):
        found.extend(read_video(path))
    assert len(found) == 8


@pytest.mark.parametrize(
    ('name', 'codec', 'expected'),
    [
        ('a.mkv', 'libx264', r'a\.mkv breaks off: it has {} images, its index or header'),
        ('a.webm', 'libvpx', r'a\.webm breaks off: it has {} images, its index or header'),
        ('a.gif', 'gif', r'a\.gif breaks off: it has {} images, its index or header'),
        # which has no header, but its last image lacks a part
        ('a.h264', 'libx264', r'a\.h264 is damaged: 1 part cannot be read \(an image is damaged'),
    ],
)
def test_a_copy_that_broke_off_is_named(
    name: str, codec: str, expected: str, tmp_path: Path
) -> None:
    path = film(tmp_path / name, list(NOISE), codec=codec)
    assert len(list(read_video(path))) == 20
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    found = []
    with pytest.raises(VideoError) as stop:
        found.extend(read_video(path))
    assert re.search(expected.format(len(found)), str(stop.value))
    assert 5 < len(found) < 20


def test_a_hole_in_matroska_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = film(tmp_path / 'a.mkv', list(NOISE))
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0)][12]
    content = path.read_bytes()
    path.write_bytes(content[:place] + bytes(len(content) - place))
    found = len(list(read_video(path)))
    assert caplog.messages == [f'{path}: its header counts 20 images, it has {found}']


def test_images_that_refer_to_missing_ones_are_named(tmp_path: Path) -> None:
    path = film(tmp_path / 'a.ts', list(NOISE), codec='libx265')
    assert len(list(read_video(path))) == 20
    content, packet = path.read_bytes(), 188
    images = [i for i in range(0, len(content), packet) if content[i + 1 : i + 3] == b'\x41\0']
    path.write_bytes(content[: images[8]] + content[images[10] :])
    found = []
    expected = r'a\.ts is damaged: 10 parts cannot be read \(an image refers to missing ones'
    with pytest.raises(VideoError, match=expected):
        found.extend(read_video(path))
    assert len(found) == 8


def test_images_of_avi_come_in_their_order(tmp_path: Path) -> None:
    path = film(tmp_path / 'recorder.avi', list(NOISE // 2 + NOISE[:1] // 2), b_frames=3)
    times = [time for time, _ in read_video(path)]
    assert np.unique(np.diff(times)).tolist() == [4 * 10**7]


def test_pixels_become_square(tmp_path: Path) -> None:
    image = np.zeros((96, 128, 3), np.uint8)
    ((_, pixels),) = read_video(film(tmp_path / 'hdv.mp4', [image], aspect=2))
    assert pixels.shape == (256, 96, 3)  # turned by a quarter
    with pytest.raises(VideoError, match='has images of 256x96 pixels, allowed: up to 20000'):
        list(read_video(tmp_path / 'hdv.mp4', 20000))


def test_16_bits_of_a_video_are_those_that_it_fills(tmp_path: Path) -> None:
    image = np.arange(96 * 128, dtype=np.uint16).reshape(96, 128) % 4096
    path = film(tmp_path / 'sensor.mkv', [image], codec='ffv1')
    ((_, pixels),) = read_video(path)
    assert np.array_equal(pixels[..., 0], np.rot90(image >> 4, -1))


@pytest.mark.parametrize('codec', [H264, H265])
def test_every_packet_gives_its_image_at_once(frames: Frames, codec: str) -> None:
    stream, packets = VideoStream(codec, 320 * 180), packets_of(frames, codec)
    keys = [index for index, packet in enumerate(packets) if is_key(codec, packet)]
    assert keys == [0, GOP]
    for frame, packet in zip(frames, packets, strict=True):
        image = stream.decode(packet)
        assert np.abs(image[..., ::-1].astype(int) - frame).mean() < 6  # half the colours are gone


@pytest.mark.parametrize('codec', [H264, H265])
@pytest.mark.parametrize(
    ('lost', 'waiting', 'reason'),
    [
        ((0, 1), range(2, GOP), 'begins between two key frames: waits for the next'),
        ((GOP - 1, GOP + 1), range(GOP + 2, 2 * GOP), 'waits for the next'),
    ],
)
def test_lost_packets_cost_the_images_until_the_next_key_frame(
    frames: Frames, codec: str, lost: tuple[int, int], waiting: range, reason: str
) -> None:
    stream, packets = VideoStream(codec, 10**6), packets_of(frames, codec)
    for index in sorted({*range(2 * GOP)} - {*lost}):
        if index in waiting:
            with pytest.raises(VideoError, match=reason):
                stream.decode(packets[index])
        else:
            assert stream.decode(packets[index]).shape == (180, 320, 3)


def test_damage_costs_the_images_until_the_next_key_frame(frames: Frames) -> None:
    stream, packets = VideoStream(H264, 10**6), packets_of(frames, H264)
    stream.decode(packets[0])
    packets[1] = packets[1][:6] + b'\xff' * 40
    for index, reason in enumerate(
        [r'bytes (are no image|of h264 hold)', *['waits for the next'] * (GOP - 2)], 1
    ):
        with pytest.raises(VideoError, match=reason):
            stream.decode(packets[index])
    assert stream.decode(packets[GOP]).shape == (180, 320, 3)


def test_too_many_pixels_are_not_decoded(frames: Frames) -> None:
    packet = packets_of(frames[:1], H264)[0]
    with pytest.raises(VideoError, match=r'(are no image of|of h264 hold)'):
        VideoStream(H264, 320 * 180 - 1).decode(packet)
    with pytest.raises(VideoError, match=r'has no decoder for h266: pip install --upgrade av'):
        VideoStream('h266', 10**6)


def test_images_that_need_later_ones_are_refused(frames: Frames) -> None:
    packets = packets_of(frames, H264, b_frames=3)
    with pytest.raises(VideoError, match='hold no image, or one that needs later packets'):
        VideoStream(H264, 10**6).decode(packets[0])
