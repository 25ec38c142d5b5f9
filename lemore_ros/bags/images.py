"""Open the cameras of bags as sources of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

from lemore_core.sources import Frame, Source, drive_name
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.evaluation.image_sequence import ImageSequence
from lemore_ros.bags.evaluation.label_sources import RESIZED, WITHOUT_LABELS, RecordedLabels
from lemore_ros.bags.reader import Bag, is_bag, open_bag
from lemore_ros.bags.topics import (
    COMPRESSED,
    camera_topic,
    class_table,
    find_cameras,
    name_cameras,
    recorded_labels,
)

TOLERANCE_NS = 5_000_000  # by which the stamps of an image and its labels may differ


def open_images(path: Path, max_pixels: int, with_labels: bool) -> list[Source]:
    """Open the cameras of a bag, with their recorded labels if wanted; none if it is no bag."""
    if not is_bag(path):
        return []
    sources = []
    with open_bag(path, max_pixels) as bag:
        topics = [probe.topic for probe in find_cameras(bag)[0]]
        short = name_cameras(topics)
        names = {
            topic.name: f'/{name}' if name else ''
            for topic, name in zip(topics, short, strict=True)
        }
        labels = _labels_of(bag, names) if with_labels else {}
        for topic in topics:
            name, own = path.stem + names[topic.name], labels.get(topic.name, '')
            source = Source(
                name,
                drive_name(path.stem),
                partial(_read, path, topic.name, own, max_pixels),
                (path,),
                topic.count,
                results=(name,),
                is_recording=True,
                taxonomy=class_table(bag, bag.topic(own)) if own else None,
            )
            sources.append(source)
    return sources


def _read(
    path: Path, topic: str, labels: str, max_pixels: int, errors: Counter[str]
) -> Iterator[Frame]:
    """Yield the images of a topic, with the labels of another topic if that is named."""
    sequence = ImageSequence(path, topic, max_pixels=max_pixels)
    recorded = RecordedLabels(path, labels, '', TOLERANCE_NS) if labels else None
    with closing(recorded) if recorded else nullcontext():
        for number, (image, next_ns) in enumerate(sequence.images()):
            found = recorded.labels_of(image, next_ns) if recorded else None
            own = found.labels if found else None
            name = f'{number:06}'
            yield Frame(drive_name(path.stem), name, image.image, image.time_ns, labels=own)
    if sequence.damage:
        errors[sequence.damage] += 1
    errors.update(sequence.error_counts)
    for error, times in recorded.error_counts.items() if recorded else ():
        if error not in (WITHOUT_LABELS, RESIZED):
            errors[error] += times


def _labels_of(bag: Bag, names: dict[str, str]) -> dict[str, str]:
    """Return the topic of recorded labels of each camera; ``names`` end their results' namespace.

    Labels of no such name are those of the only camera, or of the only one in colour.
    """
    labels: dict[str, str] = {}
    for topic in recorded_labels(bag):
        stem = topic.name.removesuffix(COMPRESSED)
        own = [camera for camera, name in names.items() if stem.endswith(f'{name}/labels')]
        if len(own) != 1:
            try:
                own = [camera_topic(bag).name]
            except BagError:
                continue
        if own[0] in labels:
            msg = f'{bag.path} has labels on {labels[own[0]]}, {topic.name}: name a --model'
            raise BagError(msg)
        labels[own[0]] = topic.name
    return labels
