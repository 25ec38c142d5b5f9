"""Summarise a bag: topics, cameras, encodings, sizes, rates and gaps."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from lemore_core.common.errors import counted, printable
from lemore_ros.bags.reader import Bag
from lemore_ros.bags.topics import STAMPED_BYTES, TopicProbe, probe_images
from lemore_ros.messages.common import read_stamp

NS = 10**9
# a pause of so many median periods is a gap
GAP = 3.0
GAPS_SHOWN = 5


def inspect(bag: Bag, on_progress: Callable[[int], object] = lambda _: None) -> dict[str, Any]:
    """Return the summary as JSON values.

    The images are read but not decoded. Of an image topic, ``problem`` is the reason that it is no
    camera; ``gaps_s`` are the longest gaps (start, length) in seconds from the bag's start;
    ``stamps_back`` counts stamps older than the one before. ``on_progress`` is called with numbers
    of images.
    """
    images = [_image_topic(bag, probe, on_progress) for probe in probe_images(bag)]
    return {
        'path': str(bag.path),
        'start_ns': bag.start_ns,
        'duration_s': round((bag.end_ns - bag.start_ns) / NS, 3),
        'messages': sum(topic.count for topic in bag.topics),
        'topics': [(topic.name, topic.type, topic.count) for topic in bag.topics],
        'images': images,
        'damage': bag.damage,
        'unreadable': bag.unreadable,
        'notes': bag.types.notes,
    }


def in_words(info: dict[str, Any]) -> str:
    """Format a summary for the terminal."""
    count = f'{counted(info["messages"], "message")} on {counted(len(info["topics"]), "topic")}'
    lines = [f'{info["path"]}: {count}, {info["duration_s"]:g} s']
    for image in info['images']:
        size = '{width}x{height} {encoding}'.format(**image) if image['width'] else '?'
        verdict = f'no camera: {image["problem"]}' if image['problem'] else 'a camera'
        rate = f'{counted(image["count"], "image")}, {image["rate_hz"]:g} Hz'
        lines.append(f'  {image["name"]}  {size}  {rate}  {verdict}')
        lines += [f'    a gap of {length:.2f} s at {at:.2f} s' for at, length in image['gaps_s']]
        more = image['gaps'] - len(image['gaps_s'])
        lines += [f'    and {counted(more, "gap")} more'] if more else []
        if image['stamps_back']:
            back = counted(image['stamps_back'], 'stamp')
            lines.append(f'    {back} older than the one before')
    lines += [] if info['images'] else ['  no image topics']
    if info['damage']:
        lost = f'{counted(info["unreadable"], "message")} known to be lost'
        lines.append(f'  damaged, {lost}: {info["damage"]}')
    return '\n'.join(map(printable, [*lines, *(f'  {note}' for note in info['notes'])]))


def _image_topic(
    bag: Bag, probe: TopicProbe, on_progress: Callable[[int], object]
) -> dict[str, Any]:
    times, stamps = [], []
    for record in bag.messages([probe.topic]):
        on_progress(1)
        times.append(record.time_ns)
        if len(record.data) >= STAMPED_BYTES:
            stamps.append(read_stamp(record.data))
    pauses = [b - a for a, b in pairwise(times)]
    usual = statistics.median(pauses) if pauses else 0
    gaps = [
        (round((start - bag.start_ns) / NS, 3), round(pause / NS, 3))
        for start, pause in zip(times, pauses, strict=False)
        if usual and pause > GAP * usual
    ]
    return {
        'name': probe.topic.name,
        'type': probe.topic.type,
        'count': len(times),
        'encoding': probe.encoding,
        'width': probe.width,
        'height': probe.height,
        'rate_hz': round(NS / usual, 2) if usual else 0.0,
        'gaps': len(gaps),
        'gaps_s': sorted(gaps, key=lambda gap: -gap[1])[:GAPS_SHOWN],
        'stamps_back': sum(b < a for a, b in pairwise(stamps)),
        'problem': probe.problem,
    }
