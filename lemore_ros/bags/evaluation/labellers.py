"""Where the labels of a drive's images come from: a model, or a recording."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lemore_core.refine import resized
from lemore_core.taxonomy import Labels, Taxonomy
from lemore_ros.bags.evaluation.drive import StampedImage
from lemore_ros.bags.evaluation.label_images import read_confidence, read_labels
from lemore_ros.bags.evaluation.matching import Matcher, Stamped, stamp_of
from lemore_ros.bags.io.reader import Bag, BagError, Topic, open_bag
from lemore_ros.bags.label_topics import class_table, label_topic, sibling

if TYPE_CHECKING:
    from lemore_core.segmenter import Segmenter

WITHOUT_LABELS = 'images without labels'
RESIZED = 'labels of another size than their image'


class Labelled(NamedTuple):
    """Labels (H, W) of an image, at its size.

    ``confidence`` (H, W) uint8 is ``None``, and ``latency_ms`` NaN, where it is not known.
    """

    labels: Labels
    confidence: NDArray[np.uint8] | None
    latency_ms: float


class LabelSource(Protocol):
    """Labels the images of a drive, one after the other; ``trouble`` counts what went wrong.

    Two of one ``name`` may be told apart by their ``origin``.
    """

    taxonomy: Taxonomy
    name: str
    origin: str
    trouble: Counter[str]

    def label(self, image: StampedImage, next_ns: int | None) -> Labelled | None:
        """Label an image; ``next_ns`` is the next one's time. ``None`` if it has no labels."""

    def facts(self) -> dict[str, str]:
        """Say where the labels come from."""

    def close(self) -> None:
        """Let go of what was opened."""


def described(labeller: LabelSource) -> str:
    """Return in a few words where labels come from."""
    return ', '.join(labeller.facts().values())


class ModelLabels:
    """Labels by a model; the latency is what it took."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.taxonomy = segmenter.taxonomy
        self.name = segmenter.card.name
        self.origin = str(segmenter.path)
        self.trouble: Counter[str] = Counter()
        self._segmenter = segmenter
        self._warm: set[tuple[int, int]] = set()

    def label(self, image: StampedImage, next_ns: int | None) -> Labelled | None:
        """Label an image."""
        del next_ns
        if image.size not in self._warm:
            # the first image of a size takes longer, which says nothing of the drive
            self._segmenter.warm_up(*image.size)
            self._warm.add(image.size)
        result = self._segmenter.segment(image.image.pixels, image.image.encoding)
        return Labelled(result.labels, result.confidence, result.timings.total_ms)

    def facts(self) -> dict[str, str]:
        """Say which model, and what runs it."""
        status = self._segmenter.status
        return {
            'model': self.name,
            'backend': f'{status.backend} {status.device} {status.precision}',
        }

    def close(self) -> None:
        """Let go of the network."""
        self._segmenter.close()


class RecordedLabels:
    """Labels of a topic in a bag, with the confidences of the topic ``confidence`` beside it.

    The latency is by how much later than the image the labels were received: that of the live
    node if the bag was recorded while it ran.
    """

    def __init__(self, path: Path, topic: str, dataset: str, tolerance_ns: int) -> None:
        self.trouble: Counter[str] = Counter()
        self._resources = ExitStack()
        with open_bag(path) as bag:
            self._topic = label_topic(bag, topic)
            self.taxonomy = class_table(bag, self._topic, dataset)
            beside = sibling(bag, self._topic, 'confidence')
        self.name = self._topic.name
        self.origin = path.name
        self._path = path
        self._labels = Matcher(self._messages(self._topic, self._read_labels), tolerance_ns)
        self._confidence: Matcher[NDArray[np.uint8]] | None = None
        if beside is not None:
            messages = self._messages(beside, read_confidence)
            self._confidence = Matcher(messages, tolerance_ns)

    def label(self, image: StampedImage, next_ns: int | None) -> Labelled | None:
        """Return the labels that were recorded for an image."""
        found = self._labels.take(image.time_ns, next_ns)
        sure = None
        if self._confidence is not None:
            sure = self._confidence.take(image.time_ns, next_ns)
        if found is None:
            self.trouble[WITHOUT_LABELS] += 1
            return None
        labels = found.load()
        if labels.shape != image.size:
            self.trouble[RESIZED] += 1
        confidence = None if sure is None else resized(sure.load(), image.size)
        latency = math.nan
        if found.received_ns is not None and found.received_ns != image.received_ns:
            latency = (found.received_ns - image.received_ns) / 1e6
        return Labelled(resized(labels, image.size), confidence, latency)

    def facts(self) -> dict[str, str]:
        """Say which topic of which bag."""
        return {'labels': f'{self._topic.name} in {self._path.name}'}

    def close(self) -> None:
        """Close the bag."""
        self._resources.close()

    def _messages(self, topic: Topic, read: Any) -> Iterator[Stamped[Any]]:
        # a bag has one iterator at a time, hence one bag for each topic
        bag: Bag = self._resources.enter_context(open_bag(self._path))
        for record in bag.messages([topic]):
            try:
                message = record.message
            except BagError:
                self.trouble[f'messages on {topic.name} that cannot be read'] += 1
                continue
            yield Stamped(stamp_of(message, record), record.time_ns, partial(read, record, message))

    def _read_labels(self, record: Any, message: Any) -> Labels:
        return read_labels(record, message, self.taxonomy)
