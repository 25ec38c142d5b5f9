"""Where the labels of images come from: a model, or a recording."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lemore_core.refine import resized
from lemore_core.taxonomy import Labels
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.evaluation.image_sequence import StampedImage
from lemore_ros.bags.evaluation.label_images import read_confidence, read_labels
from lemore_ros.bags.evaluation.matching import Matcher, Stamped, stamped_messages
from lemore_ros.bags.reader import open_bag
from lemore_ros.bags.topics import class_table, label_topic, recorded_labels, sibling
from lemore_ros.bags.types import Topic

if TYPE_CHECKING:
    from lemore_core.segmenter import Segmenter

WITHOUT_LABELS = 'images without labels'
RESIZED = 'labels of another size than their image'


class FrameLabels(NamedTuple):
    """Labels (H, W) of an image, at its size.

    ``confidence`` (H, W) uint8 is ``None``, and ``latency_ms`` NaN, where it is not known.
    """

    labels: Labels
    confidence: NDArray[np.uint8] | None
    latency_ms: float

    @property
    def mean_confidence(self) -> float:
        """Mean confidence 0..1; NaN where it is not known."""
        return math.nan if self.confidence is None else float(self.confidence.mean()) / 255


def label_topic_of(path: Path, ground_truth: str = '') -> str | None:
    """Return the topic of labels that a bag has beside their class table; None if it has none.

    The topic ``ground_truth`` is not meant.

    Raises:
        BagError: there are several.
    """
    with open_bag(path) as bag:
        names = [topic.name for topic in recorded_labels(bag) if topic.name != ground_truth]
    if len(names) > 1:
        listed = ', '.join(names)
        msg = f'{path} has labels on {listed}: choose with --labels, or name a --model'
        raise BagError(msg)
    return names[0] if names else None


class ModelLabels:
    """Labels by a model; the latency is what it took.

    As every source of labels it says in a ``description`` where they come from; two sources of one
    ``name`` may differ in their ``origin``; ``error_counts`` counts what went wrong.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.taxonomy = segmenter.taxonomy
        self.name = segmenter.card.name
        self.origin = str(segmenter.path)
        self.description = f'model {self.name} ({self.taxonomy.name})'
        self.error_counts: Counter[str] = Counter()
        self._segmenter = segmenter
        self._warm: set[tuple[int, int]] = set()

    def labels_of(self, image: StampedImage, next_ns: int | None) -> FrameLabels:
        """Segment an image."""
        del next_ns
        if image.size not in self._warm:
            # the first image of a size takes longer, which says nothing of the others
            self._segmenter.warm_up(*image.size)
            self._warm.add(image.size)
        result = self._segmenter.segment(image.image.pixels, image.image.encoding)
        return FrameLabels(result.labels, result.confidence, result.timings.total_ms)

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
        self.error_counts: Counter[str] = Counter()
        self._resources = ExitStack()
        with open_bag(path) as bag:
            self._topic = label_topic(bag, topic)
            self.taxonomy = class_table(bag, self._topic, dataset)
            beside = sibling(bag, self._topic, 'confidence')
        self.name = self._topic.name
        self.origin = path.name
        self.description = f'labels of {self.name} in {path.name}'
        self._path = path
        read = partial(read_labels, taxonomy=self.taxonomy)
        self._labels = Matcher(self._messages(self._topic, read), tolerance_ns)
        self._confidence: Matcher[NDArray[np.uint8]] | None = None
        if beside is not None:
            messages = self._messages(beside, read_confidence)
            self._confidence = Matcher(messages, tolerance_ns)

    def labels_of(self, image: StampedImage, next_ns: int | None) -> FrameLabels | None:
        """Return an image's labels, None if it has none; ``next_ns`` is the next one's time."""
        found = self._labels.take(image.time_ns, next_ns)
        sure = None
        if self._confidence is not None:
            sure = self._confidence.take(image.time_ns, next_ns)
        if found is None:
            self.error_counts[WITHOUT_LABELS] += 1
            return None
        labels = found.load()
        if labels.shape != image.size:
            self.error_counts[RESIZED] += 1
        confidence = None if sure is None else resized(sure.load(), image.size)
        latency = math.nan
        if found.received_ns is not None and found.received_ns != image.received_ns:
            latency = (found.received_ns - image.received_ns) / 1e6
        return FrameLabels(resized(labels, image.size), confidence, latency)

    def facts(self) -> dict[str, str]:
        """Say which topic of which bag."""
        return {'labels': f'{self._topic.name} in {self._path.name}'}

    def close(self) -> None:
        """Close the bag."""
        self._resources.close()

    def _messages(self, topic: Topic, read: Any) -> Iterator[Stamped[Any]]:
        # a bag has one iterator at a time, hence one bag for each topic
        bag = self._resources.enter_context(open_bag(self._path))
        return stamped_messages(bag, topic, read, self.error_counts)


LabelSource = ModelLabels | RecordedLabels
