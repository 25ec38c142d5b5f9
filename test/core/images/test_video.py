"""Encoded video as cameras send it: one packet, one image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lemore_core.images.video import H264, H265, VideoError, VideoStream, is_key
from test.encoded_video import GOP, packets_of

Frames = list[NDArray[np.uint8]]


@pytest.fixture(scope='module')
def frames(clip_frames: Frames) -> Frames:
    return [
        np.ascontiguousarray(cv2.resize(clip_frames[0], (320, 180))[..., ::-1]) // (1 + index % 3)
        for index in range(2 * GOP)
    ]


@pytest.mark.parametrize('codec', [H264, H265])
def test_every_packet_gives_its_image_at_once(frames: Frames, codec: str) -> None:
    stream, packets = VideoStream(codec, 320 * 180), packets_of(frames, codec)
    keys = [index for index, packet in enumerate(packets) if is_key(codec, packet)]
    assert keys == [0, GOP]
    for frame, packet in zip(frames, packets, strict=True):
        image = stream.decode(packet)
        assert np.abs(image[..., ::-1].astype(int) - frame).mean() < 6  # half the colours are gone


@pytest.mark.parametrize('codec', [H264, H265])
def test_what_begins_between_key_frames_waits_for_one(frames: Frames, codec: str) -> None:
    stream, packets = VideoStream(codec, 10**6), packets_of(frames, codec)
    for packet in packets[2:GOP]:
        with pytest.raises(VideoError, match='begins between two key frames: waits for the next'):
            stream.decode(packet)
    assert stream.decode(packets[GOP]).shape == (180, 320, 3)


def test_damage_costs_the_images_until_the_next_key_frame(frames: Frames) -> None:
    stream, packets = VideoStream(H264, 10**6), packets_of(frames, H264)
    stream.decode(packets[0])
    with pytest.raises(VideoError, match=r'bytes (are no image|of h264 hold)'):
        stream.decode(packets[1][:6] + b'\xff' * 40)
    for packet in packets[2:GOP]:
        with pytest.raises(VideoError, match='waits for the next'):
            stream.decode(packet)
    assert stream.decode(packets[GOP]).shape == (180, 320, 3)


def test_too_many_pixels_are_not_decoded(frames: Frames) -> None:
    packet = packets_of(frames[:1], H264)[0]
    with pytest.raises(VideoError, match=r'(are no image of|of h264 hold)'):
        VideoStream(H264, 320 * 180 - 1).decode(packet)
    with pytest.raises(VideoError, match=r'has no decoder for h266 .* pip install --upgrade av'):
        VideoStream('h266', 10**6)


def test_images_that_need_later_ones_are_refused(frames: Frames) -> None:
    packets = packets_of(frames, H264, b_frames=3)
    with pytest.raises(VideoError, match='hold no image, or one that needs later packets'):
        VideoStream(H264, 10**6).decode(packets[0])
