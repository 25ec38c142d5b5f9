"""What a bag holds for a camera: topics, encodings, sizes, rates, gaps."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from lemore_core.errors import printable
from lemore_ros.bags.cameras import TopicProbe, probe_images
from lemore_ros.bags.io.bag import Bag
from lemore_ros.bags.segmentation.divide import NS
from lemore_ros.messages.stamps import read_stamp

# a pause is a gap when it is so many times as long as the usual one
GAP = 3.0
GAPS_SHOWN = 5


@dataclass(frozen=True)
class ImageTopic:
    """An image topic. ``gaps_s`` are the longest (start, length), seconds from the bag's beginning.

    ``problem`` is why it is no camera, empty if it is one. ``stamps_back`` counts the headers
    whose stamps are older than those before them.
    """

    name: str
    type: str
    count: int
    encoding: str
    width: int
    height: int
    rate_hz: float
    gaps: int
    gaps_s: tuple[tuple[float, float], ...]
    stamps_back: int
    problem: str


@dataclass(frozen=True)
class BagInfo:
    """A bag; ``damage`` says what could not be read."""

    path: str
    start_ns: int
    duration_s: float
    messages: int
    topics: tuple[tuple[str, str, int], ...]
    images: tuple[ImageTopic, ...]
    damage: str
    unreadable: int
    notes: tuple[str, ...]


def inspect(bag: Bag, on_progress: Callable[[int], object] = lambda _: None) -> BagInfo:
    """Look at a bag. The images are read once, to know when they came, but not decoded.

    ``on_progress`` is called with numbers of images as they are read.
    """
    images = tuple(_image_topic(bag, probe, on_progress) for probe in probe_images(bag))
    return BagInfo(
        str(bag.path),
        bag.start_ns,
        round((bag.end_ns - bag.start_ns) / NS, 3),
        sum(topic.count for topic in bag.topics),
        tuple((topic.name, topic.type, topic.count) for topic in bag.topics),
        images,
        bag.damage,
        bag.unreadable,
        bag.types.notes,
    )


def in_words(info: BagInfo) -> str:
    """Return it as lines for a terminal."""
    lines = [
        f'{info.path}: {info.messages} messages on {len(info.topics)} topics, {info.duration_s:g} s'
    ]
    for image in info.images:
        size = f'{image.width}x{image.height} {image.encoding}' if image.width else '?'
        verdict = f'no camera: {image.problem}' if image.problem else 'a camera'
        rate = f'{image.count} images, {image.rate_hz:g} Hz'
        lines.append(f'  {image.name}  {size}  {rate}  {verdict}')
        lines += [f'    a gap of {length:.2f} s at {at:.2f} s' for at, length in image.gaps_s]
        if image.gaps > len(image.gaps_s):
            lines.append(f'    and {image.gaps - len(image.gaps_s)} gaps more')
        if image.stamps_back:
            lines.append(f'    {image.stamps_back} stamps are older than the ones before')
    if not info.images:
        lines.append('  no image topics')
    if info.damage:
        lines.append(f'  damaged, {info.unreadable} messages known to be lost: {info.damage}')
    return '\n'.join(map(printable, [*lines, *(f'  {note}' for note in info.notes)]))


def _image_topic(bag: Bag, probe: TopicProbe, on_progress: Callable[[int], object]) -> ImageTopic:
    times, stamps = [], []
    for record in bag.messages([probe.topic]):
        on_progress(1)
        times.append(record.time_ns)
        if len(record.data) >= 12:
            stamps.append(read_stamp(record.data))
    pauses = [b - a for a, b in pairwise(times)]
    usual = statistics.median(pauses) if pauses else 0
    gaps = [
        (round((start - bag.start_ns) / NS, 3), round(pause / NS, 3))
        for start, pause in zip(times, pauses, strict=False)
        if usual and pause > GAP * usual
    ]
    return ImageTopic(
        probe.topic.name,
        probe.topic.type,
        len(times),
        probe.encoding,
        probe.width,
        probe.height,
        round(NS / usual, 2) if usual else 0.0,
        len(gaps),
        tuple(sorted(gaps, key=lambda gap: -gap[1])[:GAPS_SHOWN]),
        sum(b < a for a, b in pairwise(stamps)),
        probe.problem,
    )
