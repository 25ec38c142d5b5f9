"""Open the cameras of bags as sources of images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lemore_core.sources import Frame, Source, drive_name
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.evaluation.image_sequence import ImageSequence
from lemore_ros.bags.evaluation.label_sources import RESIZED, WITHOUT_LABELS, RecordedLabels
from lemore_ros.bags.io.bag import Bag
from lemore_ros.bags.io.reader import is_bag, open_bag
from lemore_ros.bags.roles import (
    COMPRESSED,
    camera_topic,
    class_table,
    find_cameras,
    recorded_labels,
)
from lemore_ros.bags.segmentation.options import NODE, SegmentOptions

TOLERANCE_NS = 5_000_000  # by which the stamps of an image and its labels may differ


@dataclass
class BagCamera(Source):
    """Images of a topic of a bag, and labels of another topic if that is named."""

    is_recording: ClassVar[bool] = True

    topic: str = ''
    labels: str = ''

    def frames(self) -> Iterator[Frame]:
        """Yield the images in the order of recording, numbered from 0."""
        (path,) = self.paths
        sequence = ImageSequence(path, self.topic, max_pixels=self.max_pixels)
        recorded = RecordedLabels(path, self.labels, '', TOLERANCE_NS) if self.labels else None
        with closing(recorded) if recorded else nullcontext():
            for number, (image, next_ns) in enumerate(sequence.images()):
                found = recorded.labels_of(image, next_ns) if recorded else None
                labels = found.labels if found else None
                yield Frame(self.drive, f'{number:06}', image.image, image.time_ns, labels=labels)
        if sequence.damage:
            self.errors[sequence.damage] += 1
        self.errors.update(sequence.error_counts)
        for error, times in recorded.error_counts.items() if recorded else ():
            if error not in (WITHOUT_LABELS, RESIZED):
                self.errors[error] += times


def open_images(path: Path, max_pixels: int, with_labels: bool) -> list[BagCamera]:
    """Open the cameras of a bag, with their recorded labels if wanted; none if it is no bag.

    Raises:
        BagError: the bag has no camera, nothing of it can be read, or a camera has several labels.
    """
    if not is_bag(path):
        return []
    with open_bag(path, max_pixels) as bag:
        cameras, _ = find_cameras(bag, SegmentOptions(only_results=True))
        names = {camera.topic.name: camera.prefix.removeprefix(NODE) for camera in cameras}
        labels = _labels_of(bag, names) if with_labels else {}
        return [
            BagCamera(
                path.stem + names[camera.topic.name],
                drive_name(path.stem),
                (path,),
                camera.topic.count,
                max_pixels,
                class_table(bag, bag.topic(found)) if found else None,
                topic=camera.topic.name,
                labels=found,
            )
            for camera in cameras
            for found in [labels.get(camera.topic.name, '')]
        ]


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
