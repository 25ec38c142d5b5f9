"""Bags of encoded video, as ffmpeg_image_transport and Foxglove record it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lemore_core.images.video import H264, H265, VideoStream
from lemore_ros.bags.evaluation.image_sequence import ImageSequence
from lemore_ros.bags.options import SegmentOptions
from lemore_ros.bags.reader import open_bag
from lemore_ros.outputs import COMPRESSED_VIDEO, FFMPEG_PACKET
from test.bags.conftest import (
    PERIOD,
    START,
    BagFolder,
    foxglove_video,
    labels_of,
    packet,
    pattern,
    segment,
)
from test.encoded_video import GOP, packets_of

COUNT, LATE = 4 * GOP, 2  # packets sent, and those missed by who began to record
Make = Callable[[bytes, int], bytes]


def segmented(bags: BagFolder, name: str, options: SegmentOptions) -> dict[int, np.ndarray]:
    result = segment(bags.folder / 'drive', bags.folder / name, options)
    assert result.frames + sum(result.problems.values()) <= COUNT - LATE
    return labels_of(bags.folder / name)


@pytest.mark.parametrize(
    ('raw', 'encoding', 'pixels'),
    [
        ('bgr8', 'bgr8', (90, 90, 90)),
        ('mono8', 'mono8', 90),
        # red is at the even places of even rows
        ('bayer_rggb8', 'bgr8', (30, 90, 200)),
        ('bayer_rggb16', 'bgr8', (30, 90, 200)),
    ],
)
def test_mosaics_and_grey_images_are_the_luma(
    bags: BagFolder, raw: str, encoding: str, pixels: object
) -> None:
    tile = np.array([[200, 90], [90, 30]] if raw.startswith('bayer') else [[90, 90], [90, 90]])
    luma = np.tile(tile, (48, 64)).astype(np.uint8)
    # as the encoder stores it; of bgr8 it has the video range
    stored = luma if raw != 'bgr8' else 16 + (luma * 219.0 / 255)
    yuv = np.vstack([stored, np.full((48, 128), 128)]).astype(np.uint8)
    kind = 'yuv420p10le' if raw.endswith('16') else 'yuv420p'
    (data,) = packets_of([yuv if kind == 'yuv420p' else yuv.astype('<u2') << 2], H264, kind=kind)
    sent = packet(data, START, f'libx264;{kind};{raw};{raw}')
    path = bags.write([('/front/image_raw/ffmpeg', FFMPEG_PACKET, START, sent)])
    with open_bag(path) as bag:
        ((_, image),) = bag.frames(bag.topics[0])
    assert image.encoding == encoding
    assert np.abs(image.pixels[48, 64].astype(int) - pixels).max() < 12


@pytest.mark.parametrize(
    ('topic', 'kind', 'make', 'codec'),
    [
        ('/front/image_raw/ffmpeg', FFMPEG_PACKET, packet, H264),
        ('/front/image_raw/foxglove', COMPRESSED_VIDEO, foxglove_video, H265),
    ],
)
def test_images_are_labelled_from_the_first_key_frame_on(
    bags: BagFolder, options: SegmentOptions, topic: str, kind: str, make: Make, codec: str
) -> None:
    packets = packets_of([pattern(index // 3)[..., ::-1].copy() for index in range(COUNT)], codec)
    times = [START + index * PERIOD for index in range(COUNT)]
    sent = list(zip(times, packets, strict=True))[LATE:]
    bags.write([(topic, kind, time, make(data, time)) for time, data in sent])

    segmenter = options.load()
    stream, expected = VideoStream(codec, 10**6), {}
    for time, data in sent[GOP - LATE :]:
        expected[time] = segmenter.segment(stream.decode(data), 'bgr8').labels
    for name, frames in (('one', 0), ('parts', 3)):
        found = segmented(bags, name, replace(options, file_frames=frames))
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[time], labels) for time, labels in expected.items())
    some = segmented(bags, 'some', replace(options, rate=4.0, skip=0.45))
    assert 2 <= len(some) < len(expected)
    assert all(np.array_equal(labels, expected[time]) for time, labels in some.items())


def test_what_is_not_segmented_is_named_and_counted(
    bags: BagFolder, options: SegmentOptions, lemore: Any
) -> None:
    packets = packets_of([pattern(index) for index in range(COUNT)], H264)[LATE:]
    source = bags.write(
        [
            ('/front/ffmpeg', FFMPEG_PACKET, START + i * PERIOD, packet(data, START + i))
            for i, data in enumerate(packets)
        ]
    )
    result = segment(source, bags.folder / 'out', options)
    (problem,) = result.problems.items()
    assert problem[1] == GOP - LATE
    assert 'begins between two key frames: waits for the next one' in problem[0]
    assert lemore('bag', 'info', source).says('libx264;yuv420p;bgr8')
    images = ImageSequence(source)
    assert len(list(images.images())) == len(packets) - (GOP - LATE)
