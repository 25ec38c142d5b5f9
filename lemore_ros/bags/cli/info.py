"""``lemore bag info``: topics, cameras, encodings, sizes, rates and gaps; status 3 for damage."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lemore_core.cli.arguments import SEGMENTER, declare, image_bar, load_segmenter, print_json
from lemore_core.common.errors import LemoreError, counted, printable, span
from lemore_ros.bags.errors import INCOMPLETE
from lemore_ros.outputs import CAMERA_INFO

if TYPE_CHECKING:
    from lemore_core.segmenter import Segmenter
    from lemore_ros.bags.reader import Bag
    from lemore_ros.bags.topics import TopicProbe
    from lemore_ros.bags.types import Topic

NS = 10**9
GAP = 3.0  # median periods
GAPS_SHOWN = 5
MOST_SEGMENTED, MOST_TRIED = 200, 8  # images that a model judges, and on which remedies are tried


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('bag', type=Path, help='a rosbag2 folder, .mcap, .db3, or a ROS 1 .bag')
    declare(parser, 'json', *SEGMENTER)
    # without --model, nothing is segmented
    parser.set_defaults(model=None)


def run(arguments: argparse.Namespace) -> None:
    """Print the summary of the bag."""
    from lemore_ros.bags.reader import open_bag

    segmenter = None if arguments.model is None else load_segmenter(arguments)
    with open_bag(arguments.bag) as bag:
        info = inspect(bag)
        if segmenter is not None:
            for image in info['images']:
                if not image['problem']:
                    image['familiarity'] = _familiarity(bag, bag.topic(image['name']), segmenter)
    if arguments.json:
        print_json(info)
    else:
        _print(info)
    if info['damage']:
        sys.exit(INCOMPLETE)


def _print(info: dict[str, Any]) -> None:
    count = f'{counted(info["messages"], "message")} on {counted(len(info["topics"]), "topic")}'
    lines = [f'{info["path"]}: {count}, {span(info["duration_s"])}']
    for image in info['images']:
        size = '{width}x{height} {encoding}'.format(**image) if image['width'] else '?'
        verdict = f'no camera: {image["problem"]}' if image['problem'] else 'a camera'
        rate = f'{counted(image["count"], "image")}, {image["rate_hz"]:g} Hz'
        lines.append(f'  {image["name"]}  {size}  {rate}  {verdict}')
        if view := image['field_of_view']:
            lines.append(f'    field of view {view[0]:.3f} x {view[1]:.3f} rad')
        lines += [f'    a gap of {span(length)} at {at:.2f} s' for at, length in image['gaps_s']]
        more = image['gaps'] - len(image['gaps_s'])
        lines += [f'    and {counted(more, "gap")} more'] if more else []
        lines += [f'    {note}' for note in image['stamp_notes']]
        lines += [f'    {text}' for text in image.get('familiarity', ())]
    lines += [] if info['images'] else ['  no image topics']
    if info['damage']:
        lost = f'{counted(info["unreadable"], "message")} known to be lost'
        lines.append(f'  damaged, {lost}: {info["damage"]}')
    print(*map(printable, [*lines, *(f'  {note}' for note in info['notes'])]), sep='\n')


def _familiarity(bag: Bag, topic: Topic, segmenter: Segmenter) -> list[str]:
    """Say how familiar some images of a camera are to a model, which are not, and what to do."""
    from lemore_core.evaluation.scenes import advise
    from lemore_core.familiarity import SceneLog
    from lemore_core.images.image import Image

    if segmenter.card.scenes is None:
        command = 'lemore evaluate --familiarity store, or lemore import --reference'
        return [f'{segmenter.path.name} has no statistics of its training images: {command}']
    log, decoder = SceneLog(), bag.decoder(topic)
    least: list[tuple[float, Image]] = []
    step = max(1, topic.count // MOST_SEGMENTED)
    records = image_bar(bag.messages([topic]), f'segmenting {topic.name}', topic.count)
    for number, record in enumerate(records):
        if number % step:
            decoder.skip(record)
            continue
        image = decoder.decode(record)
        if isinstance(image, Image):
            (result,) = segmenter.segment_batch([image])
            log.add(f'{(record.time_ns - bag.start_ns) / NS:.2f} s', result)
            least = sorted([*least, (result.familiarity or 0, image)], key=itemgetter(0))
            del least[MOST_TRIED:]
    advice = advise(segmenter, [image for _, image in least]) if least else ''
    return [str(log), *([advice] if advice else [])]


def inspect(bag: Bag) -> dict[str, Any]:
    """Return the summary as JSON values; ``gaps_s`` are (start in the bag, length)."""
    from lemore_ros.bags.topics import probe_images

    images = [_image_topic(bag, probe) for probe in probe_images(bag)]
    return {
        'path': str(bag.path),
        'start_ns': bag.start_ns,
        'duration_s': round((bag.end_ns - bag.start_ns) / NS, 3),
        'messages': sum(topic.count for topic in bag.topics),
        'topics': [(topic.name, topic.type, topic.count) for topic in bag.topics],
        'images': images,
        'damage': str(bag.errors),
        'unreadable': bag.errors.messages,
        'notes': [*bag.types.notes, *(str(t) for t in bag.topics if t.is_unread)],
    }


def _image_topic(bag: Bag, probe: TopicProbe) -> dict[str, Any]:
    from lemore_ros.bags.stamps import stamp_notes
    from lemore_ros.bags.topics import STAMPED_BYTES
    from lemore_ros.messages.common import read_stamp

    topic = probe.topic
    # reading all images of a long bag takes minutes
    records = image_bar(bag.messages([topic]), f'reading {topic.name}', topic.count)
    found = [
        (r.time_ns, read_stamp(r.data) if len(r.data) >= STAMPED_BYTES else 0) for r in records
    ]
    times, stamps = [time for time, _ in found], [stamp for _, stamp in found]
    pauses = [b - a for a, b in pairwise(times)]
    usual = median(pauses) if pauses else 0
    gaps = [
        (round((start - bag.start_ns) / NS, 3), round(pause / NS, 3))
        for start, pause in zip(times, pauses, strict=False)
        if usual and pause > GAP * usual
    ]
    return {
        'name': topic.name,
        'type': topic.type,
        'count': len(times),
        'encoding': probe.encoding,
        'width': probe.width,
        'height': probe.height,
        'field_of_view': _field_of_view(bag, probe),
        'rate_hz': round(NS / usual, 2) if usual else 0.0,
        'gaps': len(gaps),
        'gaps_s': sorted(gaps, key=lambda gap: -gap[1])[:GAPS_SHOWN],
        'stamp_notes': stamp_notes(times, stamps, bag.start_ns),
        'problem': probe.problem,
    }


def _field_of_view(bag: Bag, probe: TopicProbe) -> tuple[float, float] | None:
    """Return the field of view in radians by the camera info beside a camera, None without."""
    from lemore_ros.bags.topics import sibling
    from lemore_ros.messages.camera_info import field_of_view

    topic = sibling(bag, probe.topic, 'camera_info')
    if probe.problem or topic is None or topic.type != CAMERA_INFO:
        return None
    with suppress(LemoreError, StopIteration):  # a camera need not be calibrated
        message = next(bag.messages([topic])).message
        # ROS 1 has capital letters
        fields = {name.lower(): value for name, value in vars(message).items()}
        info = SimpleNamespace(**fields)
        return field_of_view(info, height=probe.height, width=probe.width)
    return None
