"""Open the cameras of bags as sources of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import KW_ONLY, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lemore_core.sources import Frame, Source, drive_name

if TYPE_CHECKING:
    from lemore_ros.bags.io.bag import Bag

TOLERANCE_NS = 5_000_000  # by which the stamps of an image and its labels may differ


@dataclass
class BagCamera(Source):
    """Images of the topic ``topic`` of a bag, and labels of the topic ``labels``, if it is named."""

    is_recording: ClassVar[bool] = True

    _: KW_ONLY
    topic: str
    labels: str = ''

    def frames(self) -> Iterator[Frame]:
        """Yield the images in the order of recording, numbered from 0."""
        from lemore_ros.bags.evaluation.image_sequence import ImageSequence
        from lemore_ros.bags.evaluation.label_sources import (
            RESIZED,
            WITHOUT_LABELS,
            RecordedLabels,
        )

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
        found_errors = sequence.error_counts + (recorded.error_counts if recorded else Counter())
        for expected in (WITHOUT_LABELS, RESIZED):
            del found_errors[expected]
        self.errors.update(found_errors)


def open_images(path: Path, max_pixels: int, with_labels: bool) -> list[BagCamera]:
    """Return the cameras of a bag, with their recorded labels if wanted; none if it is no bag.

    Raises:
        BagError: the bag has no camera, nothing of it can be read, or a camera has several labels.
    """
    if find_spec('rosbags') is None:
        return []
    from lemore_ros.bags.errors import BagError
    from lemore_ros.bags.io.reader import is_bag, open_bag
    from lemore_ros.bags.roles import class_table, find_cameras
    from lemore_ros.bags.segmentation.options import NODE, SegmentOptions

    if not is_bag(path):
        return []
    sources = []
    with open_bag(path, max_pixels) as bag:
        cameras, _ = find_cameras(bag, SegmentOptions(only_results=True))
        names = {camera.topic.name: camera.prefix.removeprefix(NODE) for camera in cameras}
        labels = _labels_of_cameras(bag, names) if with_labels else {}
        for camera in cameras:
            topic = camera.topic
            found = labels.get(topic.name, [])
            if len(found) > 1:
                msg = f'{path} has labels of {topic.name} on {", ".join(found)}: name a --model'
                raise BagError(msg)
            sources.append(
                BagCamera(
                    path.stem + names[topic.name],
                    drive_name(path.stem),
                    (path,),
                    topic.count,
                    max_pixels,
                    topic=topic.name,
                    labels=found[0] if found else '',
                    taxonomy=class_table(bag, bag.topic(found[0])) if found else None,
                )
            )
    return sources


def _labels_of_cameras(bag: Bag, names: dict[str, str]) -> dict[str, list[str]]:
    """Return the topics of recorded labels of each camera.

    ``names`` are what results of each camera's topic are called. Labels without such a name are
    those of the only camera, or of the only one in colour.
    """
    from lemore_ros.bags.errors import BagError
    from lemore_ros.bags.roles import COMPRESSED, camera_topic, recorded_labels

    labels: dict[str, list[str]] = {}
    for topic in recorded_labels(bag):
        stem = topic.name.removesuffix(COMPRESSED)
        own = [camera for camera, name in names.items() if stem.endswith(f'{name}/labels')]
        if len(own) != 1:
            try:
                own = [camera_topic(bag).name]
            except BagError:
                continue
        labels.setdefault(own[0], []).append(topic.name)
    return labels
