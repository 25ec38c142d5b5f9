"""Label the images of a bag: by a model, a topic of labels, or masks in a folder.

A source has the ``taxonomy`` of its labels, a ``name`` and an ``origin`` that tells sources of one
name apart, a ``description`` for people, and ``error_counts`` by description. Masks in a folder are
named by the stamps of their images, ``<sec>_<nanosec>.png`` or ``<nanoseconds>.png``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lemore_core.data.readers import read_ids_or_colors
from lemore_core.data.readers import read_labels as read_mask
from lemore_core.images.files import NUMBERS, PNG, ImageFileError, decode_image
from lemore_core.segmentation import resized
from lemore_core.taxonomy import Labels, Taxonomy, TaxonomyError
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.evaluation.image_sequence import StampedImage
from lemore_ros.bags.evaluation.matching import Matcher, Stamped, stamped_messages
from lemore_ros.bags.files import METADATA
from lemore_ros.bags.reader import Record, open_bag
from lemore_ros.bags.topics import class_table, label_topic, recorded_labels, sibling
from lemore_ros.bags.types import Topic
from lemore_ros.messages.images import ImageError, rows_of

if TYPE_CHECKING:
    from lemore_core.segmenter import Segmenter

DOUBTFUL = 128  # of 255: the label is less probable than all others together
WITHOUT_LABELS = 'images without labels'
RESIZED = 'labels of another size than their image'
CLASS_IDS, DATASET_IDS = 'classes', 'dataset'
STAMP = re.compile(r'(?:(?P<sec>\d+)_)?(?P<nanosec>\d+)')
BYTES = {'mono8': 1, '8UC1': 1, '16UC1': 2, 'mono16': 2}


class FrameLabels(NamedTuple):
    """Labels (H, W) of an image.

    ``confidence`` (H, W) uint8 is None and ``latency_ms`` NaN where unknown.
    """

    labels: Labels
    confidence: NDArray[np.uint8] | None = None
    latency_ms: float = math.nan

    @property
    def mean_confidence(self) -> float:
        """Mean confidence 0..1; NaN if unknown."""
        return math.nan if self.confidence is None else float(self.confidence.mean()) / 255

    @property
    def doubtful(self) -> float:
        """Share of the pixels of less than 50 % confidence; NaN if unknown."""
        return math.nan if self.confidence is None else float((self.confidence < DOUBTFUL).mean())

    def at_size(self, size: tuple[int, int]) -> FrameLabels:
        """Return the labels resized to (height, width) by nearest neighbour."""
        confidence = None if self.confidence is None else resized(self.confidence, size)
        return self._replace(labels=resized(self.labels, size), confidence=confidence)


class ModelLabels:
    """Labels by a model; the latency is that of the Segmenter."""

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
            # the first image of a size takes longer than all others
            self._segmenter.warm_up(*image.size)
            self._warm.add(image.size)
        result = self._segmenter.segment(image.image.pixels, image.image.encoding)
        return FrameLabels(result.labels, result.confidence, result.timings.total_ms)

    def facts(self) -> dict[str, str]:
        """Name the model and its backend."""
        status = self._segmenter.status
        backend = f'{status.backend} {status.device} {status.precision}'
        return {'model': self.name, 'backend': backend}

    def close(self) -> None:
        """Release the network."""
        self._segmenter.close()


class RecordedLabels:
    """Labels of a topic in a bag, with the confidences of the topic beside it.

    The latency is from the receipt of the image to that of the labels: that of the live node if
    the bag was recorded while it ran.
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
            self._confidence = Matcher(self._messages(beside, read_confidence), tolerance_ns)

    def labels_of(self, image: StampedImage, next_ns: int | None) -> FrameLabels | None:
        """Return the labels of an image at its size, None if it has none."""
        found = self._labels.take(image.time_ns, next_ns)
        beside = self._confidence and self._confidence.take(image.time_ns, next_ns)
        if found is None:
            self.error_counts[WITHOUT_LABELS] += 1
            return None
        labels = found.load()
        self.error_counts[RESIZED] += labels.shape != image.size
        latency = math.nan
        if found.received_ns is not None and found.received_ns != image.received_ns:
            latency = (found.received_ns - image.received_ns) / 1e6
        confidence = beside.load() if beside else None
        return FrameLabels(labels, confidence, latency).at_size(image.size)

    def facts(self) -> dict[str, str]:
        """Name the topic and its bag."""
        return {'labels': f'{self._topic.name} in {self._path.name}'}

    def close(self) -> None:
        """Close the bag."""
        self._resources.close()

    def _messages(self, topic: Topic, read: Any) -> Iterator[Stamped[Any]]:
        # a bag has one iterator at a time, hence one bag for each topic
        bag = self._resources.enter_context(open_bag(self._path))
        return stamped_messages(bag, topic, read, self.error_counts)


LabelSource = ModelLabels | RecordedLabels


class GroundTruth:
    """True labels at their own size, from a topic, a folder of masks, or another bag.

    ``text`` names one of them; ``topic`` is that of another bag. ``ids`` says whether masks in a
    folder hold class ids (``classes``), or the data set's own ids or colours (``dataset``).

    Raises:
        BagError: ``text`` is none of these, or holds no labels.
    """

    def __init__(
        self,
        text: str,
        bag_path: Path,
        taxonomy: Taxonomy,
        tolerance_ns: int,
        *,
        topic: str = '',
        ids: str = CLASS_IDS,
    ) -> None:
        self.name = text
        self.error_counts: Counter[str] = Counter()
        self._resources = ExitStack()
        self._tolerance = tolerance_ns
        path = Path(text)
        with open_bag(bag_path) as bag:
            names = {one.name for one in bag.topics}
        if text in names:
            items = self._of_bag(bag_path, text, taxonomy)
        elif path.is_dir() and not (path / METADATA).exists():
            items = _masks(path, taxonomy, ids)
        elif path.exists():
            items = self._of_bag(path, topic, taxonomy)
        else:
            msg = f'{text} is no topic of {bag_path}, and there is no folder or bag of that name'
            raise BagError(msg)
        self.matcher = Matcher(items, tolerance_ns)

    def labels_of(self, image: StampedImage, next_ns: int | None) -> FrameLabels | None:
        """Return the true labels of an image, None if it has none."""
        found = self.matcher.take(image.time_ns, next_ns)
        return None if found is None else FrameLabels(found.load())

    def require_matches(self, first_ns: int, last_ns: int) -> None:
        """Raise BagError if no image of these times has ground truth."""
        self.matcher.finish()
        if self.matcher.matched:
            return
        own = _span(self.matcher.first_ns or 0, self.matcher.last_ns or 0)
        times = 'it is empty' if self.matcher.first_ns is None else f'it spans {own}'
        msg = (
            f'no ground truth of {self.name} is within {self._tolerance / 1e6:g} ms of an image: '
            f'{times}, the images {_span(first_ns, last_ns)}; '
            'check its stamps, or raise --tolerance-ms'
        )
        raise BagError(msg)

    def close(self) -> None:
        """Close the bag, if there is one."""
        self._resources.close()

    def _of_bag(self, path: Path, topic: str, taxonomy: Taxonomy) -> Iterator[Stamped[Labels]]:
        bag = self._resources.enter_context(open_bag(path))
        chosen = label_topic(bag, topic, option='--ground-truth-topic')
        return stamped_messages(bag, chosen, partial(read_labels, taxonomy=taxonomy))


def label_topic_of(path: Path, ground_truth: str = '') -> str | None:
    """Return the topic of labels beside their class table in a bag, None without one.

    Raises:
        BagError: there are several, apart from ``ground_truth``.
    """
    with open_bag(path) as bag:
        names = [topic.name for topic in recorded_labels(bag) if topic.name != ground_truth]
    if len(names) > 1:
        listed = ', '.join(names)
        msg = f'{path} has labels on {listed}: choose with --labels, or name a --model'
        raise BagError(msg)
    return names[0] if names else None


def read_labels(record: Record, message: Any, taxonomy: Taxonomy) -> Labels:
    """Return the class ids of a label message (H, W), 8 or 16 bits, raw or PNG.

    255, and 65535 in 16 bits, become the taxonomy's value for unlabelled.

    Raises:
        BagError: the message is no label image, or holds ids of no class.
    """
    ids = _read_numbers(record, message)
    unlabelled = ids == np.iinfo(ids.dtype).max
    is_known = ids[~unlabelled].max(initial=0) < len(taxonomy.classes)
    if ids.dtype == taxonomy.label_dtype and is_known:
        return ids
    try:
        return taxonomy.of_labels.encode(np.where(unlabelled, taxonomy.unlabelled, ids))
    except TaxonomyError as error:
        msg = f'{record.topic.name} holds no labels of {taxonomy.name!r}: {error}'
        raise BagError(msg) from error


def read_confidence(record: Record, message: Any) -> NDArray[np.uint8]:
    """Return the confidences of a message, (H, W) uint8, 255 for certain."""
    values = _read_numbers(record, message)
    if values.dtype != np.uint8:
        msg = f'{record.topic.name} holds {values.dtype} numbers, confidences are mono8'
        raise BagError(msg)
    return values


def _read_numbers(record: Record, message: Any) -> NDArray[Any]:
    try:
        if record.topic.is_compressed:
            # other formats than png change class ids
            pixels = decode_image(bytes(message.data), NUMBERS, kinds=(PNG,))
        else:
            pixels = _raw_numbers(message)
    except (ImageError, ImageFileError) as error:
        msg = f'{record.topic.name} holds no labels or confidences: {error}'
        raise BagError(msg) from error
    if pixels.ndim != 2:
        msg = f'{record.topic.name} has images of shape {pixels.shape}, labels have one channel'
        raise BagError(msg)
    return np.ascontiguousarray(pixels)


def _raw_numbers(message: Any) -> NDArray[Any]:
    size = BYTES.get(message.encoding)
    if size is None:
        msg = f'encoding {message.encoding!r} is none of {", ".join(BYTES)}'
        raise ImageError(msg)
    order = '>' if message.is_bigendian else '<'
    rows = np.ascontiguousarray(rows_of(message, size))
    return rows.view(f'{order}u{size}').astype(f'u{size}', copy=False)


def _masks(folder: Path, taxonomy: Taxonomy, ids: str) -> Iterator[Stamped[Labels]]:
    read = read_mask if ids == CLASS_IDS else read_ids_or_colors

    def load(path: Path) -> Labels:
        try:
            return read(path, taxonomy)
        except TaxonomyError as error:
            msg = (
                f'{path}: {error}; --ground-truth-ids says whether masks hold class ids '
                f"({CLASS_IDS}) or the data set's own ids or colors ({DATASET_IDS})"
            )
            raise BagError(msg) from error

    masks = sorted((_stamp_of_name(path), path) for path in folder.glob('*.png'))
    if not masks:
        msg = f'{folder} holds no masks (.png), and no {METADATA}, so it is no bag either'
        raise BagError(msg)
    return iter([Stamped(time, None, partial(load, path)) for time, path in masks])


def _stamp_of_name(path: Path) -> int:
    found = STAMP.fullmatch(path.stem)
    if found is None or (found['sec'] is not None and int(found['nanosec']) >= 10**9):
        msg = (
            f'the mask {path} is not named by its stamp: '
            'call it <sec>_<nanosec>.png or <nanoseconds>.png'
        )
        raise BagError(msg)
    return int(found['sec'] or 0) * 10**9 + int(found['nanosec'])


def _span(first_ns: int, last_ns: int) -> str:
    return f'{first_ns / 1e9:.3f} to {last_ns / 1e9:.3f} s'
