"""Open the cameras of bags as sources of images."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

from lemore_core.common.errors import printable
from lemore_core.sources import Frame, Source, drive_name
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.evaluation.image_sequence import ImageSequence
from lemore_ros.bags.evaluation.label_sources import UNREADABLE_LABELS, RecordedLabels
from lemore_ros.bags.reader import Bag, bag_name, is_bag, open_bag
from lemore_ros.bags.topics import (
    COMPRESSED,
    camera_topic,
    class_table,
    find_cameras,
    name_in_files,
    recorded_labels,
)
from lemore_ros.bags.types import Topic

_log = logging.getLogger(__name__)
MOST_OF_A_NAME = 60  # characters of a folder, which are 255 bytes at most
TOLERANCE_NS = 5_000_000  # by which the stamps of an image and its labels may differ


def open_images(path: Path, max_pixels: int, bits: int, with_labels: bool) -> list[Source]:
    """Open the cameras of a bag, with their recorded labels if wanted; none if it is no bag."""
    if not is_bag(path):
        return []
    title = bag_name(path)
    with open_bag(path, max_pixels, bits) as bag:
        cameras, others = find_cameras(bag)
        found = {probe.topic: f'/{name}' if name else '' for name, probe in cameras.items()}
        labels = _find_labels(bag, found) if with_labels else {}
        sources = [
            Source(
                title + _as_path(name),
                drive_name(title),
                partial(_read, path, topic, name, labels.get(topic), max_pixels, bits),
                (path,),
                topic.count,
                results=(title + _as_path(name),),
                is_recording=True,
                taxonomy=class_table(bag, labels[topic]) if topic in labels else None,
            )
            for topic, name in found.items()
        ]
        for one in others:
            reason = printable(f'{one.topic.name} is left out: {one.problem}')
            if one.is_unreadable:
                sources[0].errors[reason] += 1
            else:
                _log.warning('%s: %s', title, reason)
        return sources


def _read(
    path: Path,
    topic: Topic,
    camera: str,
    labels: Topic | None,
    max_pixels: int,
    bits: int,
    errors: Counter[str],
) -> Iterator[Frame]:
    """Yield the images of a topic, with the labels of another topic if that is given."""
    sequence = ImageSequence(path, topic.name, max_pixels=max_pixels, bits=bits)
    # stamps of cameras may be equal
    drive = drive_name(bag_name(path)) + (f'_{name_in_files(camera)}' if camera else '')
    recorded = RecordedLabels(path, labels.name, '', TOLERANCE_NS) if labels else None
    try:
        with closing(recorded) if recorded else nullcontext():
            for number, (image, next_ns) in enumerate(sequence.images()):
                found = recorded.labels_of(image, next_ns) if recorded else None
                own = found.labels if found else None
                yield Frame(drive, f'{number:06}', image.image, image.time_ns, labels=own)
    finally:  # also of the first images alone
        if sequence.damage:
            errors[sequence.damage] += 1
        for error, times in sequence.error_counts.items():
            errors[f'{error}: {sequence.reason}'] += times
        if recorded and (times := recorded.error_counts[UNREADABLE_LABELS]):
            errors[f'{UNREADABLE_LABELS}: {recorded.reason}'] += times


def _as_path(name: str) -> str:
    """Return a camera's name as a path that stays where it is put: senders choose names of topics."""
    parts = name.split('/')
    return '/'.join(re.sub(r'^\.+|[\0\n]', '_', part[:MOST_OF_A_NAME]) for part in parts)


def _find_labels(bag: Bag, cameras: dict[Topic, str]) -> dict[Topic, Topic]:
    """Return the recorded labels of cameras: by the namespace, else of the only one (in colour)."""
    found: dict[Topic, Topic] = {}
    for labels in recorded_labels(bag):
        stem = labels.name.removesuffix(COMPRESSED)
        own = [camera for camera, name in cameras.items() if stem.endswith(f'{name}/labels')]
        if len(own) != 1:
            try:
                own = [camera_topic(bag)]
            except BagError:
                continue
        if own[0] in found:
            msg = f'{bag.path} has labels on {found[own[0]].name}, {labels.name}: name a --model'
            raise BagError(msg)
        found[own[0]] = labels
    return found
