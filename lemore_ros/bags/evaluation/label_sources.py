"""Label the images of a bag: by a model, a topic of labels, or masks in a folder."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError, shown
from lemore_core.data.samples import read_ids_or_colors
from lemore_core.data.samples import read_labels as read_mask
from lemore_core.images.files import NUMBERS, PNG, ImageFileError, decode_image
from lemore_core.segmentation import resized
from lemore_core.taxonomy import ClassGroups, Labels, Taxonomy, TaxonomyError, load_groups
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.evaluation.image_sequence import (
    REMEMBERED,
    Matcher,
    Stamped,
    StampedImage,
    stamp_of,
)
from lemore_ros.bags.reader import METADATA, Bag, Record, is_bag, open_bag
from lemore_ros.bags.topics import CLASSES, class_table, label_topic, names_in_files, sibling
from lemore_ros.bags.types import Topic
from lemore_ros.messages.images import ImageError, rows_of
from lemore_ros.outputs import COMPRESSED_IMAGE

if TYPE_CHECKING:
    from lemore_core.segmenter import Segmenter

MOST_MASKS = 1000  # remembered: they are read when they are wanted
DOUBTFUL = 128  # of 255: the label is less probable than all others together
WITHOUT_LABELS = 'images without labels'
UNREADABLE_LABELS = 'labels that cannot be read'
RESIZED = 'labels of another size than their image'
CLASS_IDS, DATASET_IDS = 'classes', 'dataset'
IDS_MEAN = {
    CLASS_IDS: "no class table is beside them: taken for the labels' classes",
    DATASET_IDS: "the data set's own ids or colors",
}
# after the names of a drive, and of one of its cameras, as in picked frames
STAMP = re.compile(
    r'(?:[^_]*_(?:(?P<camera>[^_]*)_)?(?=\d+_\d+$))?(?:(?P<sec>\d+)_)?(?P<nanosec>\d+)'
)
BYTES = {'mono8': 1, '8UC1': 1, '16UC1': 2, 'mono16': 2}
T = TypeVar('T')


class FrameLabels(NamedTuple):
    """Labels and confidence (H, W) of an image, and its figures; None and NaN where unknown."""

    labels: Labels
    confidence: NDArray[np.uint8] | None = None
    latency_ms: float = math.nan
    familiarity: float = math.nan
    sureness: float = math.nan

    def at_size(self, size: tuple[int, int]) -> FrameLabels:
        """Return the labels resized to (height, width) by nearest neighbour."""
        confidence = None if self.confidence is None else resized(self.confidence, size)
        return self._replace(labels=resized(self.labels, size), confidence=confidence)


class _Labels:
    """Labels of ``taxonomy``, perhaps in groups of other classes; what is unreadable is counted."""

    name: str
    taxonomy: Taxonomy
    _groups: ClassGroups | None = None
    reason = ''  # why the first unreadable ones are
    bag: Bag | None = None  # that holds them
    _any_read = False

    def __init__(self) -> None:
        self.error_counts: Counter[str] = Counter()

    def group(self, groups: str) -> None:
        """Put all labels into groups of their classes, see :func:`lemore_core.taxonomy.load_groups`."""
        self._groups = load_groups(groups, self.taxonomy)
        self.taxonomy = self._groups.taxonomy

    def _grouped(self, labels: Labels) -> Labels:
        return labels if self._groups is None else self._groups.apply(labels)

    def _load(self, item: Stamped[T] | None) -> T | None:
        """Read an item, None if it is unreadable; a first one of another kind is an error."""
        try:
            found = None if item is None else item.load()
        except LemoreError as error:
            is_another_kind = isinstance(error.__cause__, (TaxonomyError, type(None)))
            if is_another_kind and not self._any_read:
                raise  # before a model has labelled the whole bag
            self._count_unreadable(error)
            return None
        self._any_read |= found is not None
        return found

    def _count_unreadable(self, error: LemoreError) -> None:
        self.error_counts[UNREADABLE_LABELS] += 1
        self.reason = self.reason or str(error)

    def _stamped(
        self, bag: Bag, topic: Topic, read: Callable[[Record, Any], T]
    ) -> Iterator[Stamped[T]]:
        for record in bag.messages([topic]):
            try:
                message = record.message
            except BagError as error:
                self._count_unreadable(error)
                continue
            yield Stamped(stamp_of(message, record), record.time_ns, partial(read, record, message))


class ModelLabels(_Labels):
    """Labels by a model; the latency is that of the Segmenter."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.taxonomy, self.name = segmenter.taxonomy, segmenter.card.name
        self.origin = str(segmenter.path)
        self.description = f'model {self.name} ({self.taxonomy.name})'
        self._segmenter = segmenter
        self._warm: set[tuple[int, int]] = set()

    @property
    def facts(self) -> dict[str, str]:
        """The model and its backend."""
        status = self._segmenter.status
        backend = f'{status.backend} {status.device} {status.precision}'
        return {'model': self.name, 'backend': backend}

    def labels_of(self, image: StampedImage, next_ns: int | None) -> FrameLabels:
        """Segment an image; the next one does not matter."""
        del next_ns
        if image.size not in self._warm:
            # the first image of a size takes longer than all others
            self._segmenter.warm_up(*image.size)
            self._warm.add(image.size)
        result = self._segmenter.segment(image.image.pixels, image.image.encoding)
        labels = self._grouped(result.labels)
        shares = (
            math.nan if share is None else share for share in (result.familiarity, result.sureness)
        )
        return FrameLabels(labels, result.confidence, result.timings.total_ms, *shares)

    def close(self) -> None:
        """Release the network."""
        self._segmenter.close()


class RecordedLabels(_Labels):
    """Labels and confidences of topics in a bag; the latency is between the receive times."""

    def __init__(self, path: Path, topic: str, dataset: str, tolerance_ns: int) -> None:
        super().__init__()
        self._confidence: Matcher[NDArray[np.uint8]] | None = None
        with ExitStack() as stack:
            bag = stack.enter_context(open_bag(path))
            labels = label_topic(bag, topic)
            self.taxonomy = class_table(bag, labels, dataset)
            read = partial(_read_labels, self.taxonomy)
            messages = self._stamped(bag, labels, read)
            span = bag.start_ns, bag.end_ns
            self._labels = Matcher(messages, tolerance_ns, span)
            beside = sibling(bag, labels, 'confidence')
            if beside is not None:
                # a bag has one iterator at a time
                other = stack.enter_context(open_bag(path))
                read_bytes = partial(_read_numbers, kinds='u1')
                values = self._stamped(other, beside, read_bytes)
                self._confidence = Matcher(values, tolerance_ns, span)
            self.bag, self.close = bag, stack.pop_all().close
        self.name, self.origin = labels.name, path.name
        self.facts = {'labels': f'{self.name} in {path}'}
        self.description = f'labels of {self.name} in {path}'

    def labels_of(self, image: StampedImage, next_ns: int | None) -> FrameLabels | None:
        """Return the labels of an image at its size, None if it has none."""
        moment = image.time_ns, next_ns, image.received_ns
        found, beside = self._labels.take(*moment), None
        if self._confidence is not None:
            beside = self._confidence.take(*moment)
        if found is None:
            self.error_counts[WITHOUT_LABELS] += 1
            return None
        if (labels := self._load(found)) is None:
            return None
        self.error_counts[RESIZED] += labels.shape != image.size
        delay_ns = found.received_ns - image.received_ns
        confidence = self._load(beside)
        latency_ms = delay_ns / 1e6 if delay_ns else math.nan
        found_labels = FrameLabels(self._grouped(labels), confidence, latency_ms)
        return found_labels.at_size(image.size)


LabelSource = ModelLabels | RecordedLabels


class GroundTruth(_Labels):
    """True labels at their own size, of a topic, a folder of masks, or another bag's ``topic``.

    Of masks and topics that name cameras, only ones that name ``camera`` are taken.
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
        camera: Topic | None = None,
    ) -> None:
        super().__init__()
        self.name = self.description = text
        self.facts = {'ground_truth': text, 'ground_truth_ids': IDS_MEAN[ids]}
        self.taxonomy, self._tolerance = taxonomy, tolerance_ns
        path, items, span = Path(text), None, (0, 0)
        remembered = MOST_MASKS
        with ExitStack() as stack:
            bag = stack.enter_context(open_bag(bag_path))
            if text in {one.name for one in bag.topics}:
                topic = text
            elif path.is_dir() and not is_bag(path):
                items = _masks(path, taxonomy, ids, camera)
            elif path.exists():
                bag = stack.enter_context(open_bag(path))
            else:
                msg = f'{text} is no topic of {bag_path}, and no folder or bag has that name'
                raise BagError(msg)
            if items is None:
                option = '--ground-truth-topic'
                chosen = label_topic(bag, topic, option=option, camera=camera)
                if sibling(bag, chosen, CLASSES.name) is not None:
                    self.taxonomy = class_table(bag, chosen)
                    del self.facts['ground_truth_ids']
                read_ids = partial(_read_labels, self.taxonomy)
                self.bag, items = bag, self._stamped(bag, chosen, read_ids)
                span, remembered = (bag.start_ns, bag.end_ns), REMEMBERED
            self.close = stack.pop_all().close
        self._labels = Matcher(items, tolerance_ns, span, remembered)

    def labels_of(self, image: StampedImage, next_ns: int | None) -> FrameLabels | None:
        """Return the true labels of an image, None if it has none."""
        labels = self._load(self._labels.take(image.time_ns, next_ns, image.received_ns))
        return None if labels is None else FrameLabels(self._grouped(labels))

    def error(self, first_ns: int) -> BagError:
        """Return the error that no image has ground truth; the first one is of ``first_ns``."""
        if self.reason:
            return BagError(self.reason)
        own = self._labels.first_ns
        begins = 'it is empty' if own is None else f'it begins at {own / 1e9:.3f} s'
        return BagError(
            f'no ground truth of {self.name} is within {self._tolerance / 1e6:g} ms of an image: '
            f'{begins}, the images at {first_ns / 1e9:.3f} s; '
            'check its stamps, or raise --tolerance-ms'
        )


def _read_labels(taxonomy: Taxonomy, record: Record, message: Any) -> Labels:
    """Return class ids (H, W); 255, and 65535 in 16 bits, become the value for unlabelled."""
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


def _read_numbers(record: Record, message: Any, kinds: str = 'u1u2') -> NDArray[Any]:
    """Return the numbers (H, W) of a message, 8 or 16 bits, raw or PNG."""
    name, is_compressed = record.topic.name, record.topic.type == COMPRESSED_IMAGE
    if not is_compressed and message.encoding not in BYTES:
        msg = f'{name} holds {shown(message.encoding)} images, labels are {", ".join(BYTES)}'
        raise BagError(msg)
    try:
        if is_compressed:
            # other formats than png change class ids
            pixels = decode_image(bytes(message.data), NUMBERS, kinds=(PNG,))
        else:
            order, size = '>' if message.is_bigendian else '<', BYTES[message.encoding]
            rows = np.ascontiguousarray(rows_of(message, size))
            pixels = rows.view(f'{order}u{size}').astype(f'u{size}', copy=False)
    except (ImageError, ImageFileError) as error:
        msg = f'{name} holds no labels or confidences: {error}'
        raise BagError(msg) from error
    if pixels.ndim != 2 or pixels.dtype.str[1:] not in kinds:
        msg = f'{name} has {pixels.dtype} images of shape {pixels.shape}: labels have one channel, confidences are mono8'
        raise BagError(msg)
    return np.ascontiguousarray(pixels)


def _masks(
    folder: Path, taxonomy: Taxonomy, ids: str, camera: Topic | None
) -> Iterator[Stamped[Labels]]:
    read = read_mask if ids == CLASS_IDS else read_ids_or_colors

    def load(path: Path) -> Labels:
        try:
            return read(path, taxonomy)
        except TaxonomyError as error:
            kinds = f"class ids ({CLASS_IDS}) or the data set's own ids or colors ({DATASET_IDS})"
            msg = f'{path}: {error}; --ground-truth-ids says whether masks hold {kinds}'
            raise BagError(msg) from error

    files = [path for path in folder.iterdir() if path.suffix.lower() == '.png']
    masks = sorted(
        (time, path)
        for path, (called, time) in zip(files, map(camera_and_stamp, files), strict=True)
        if camera is None or called in names_in_files(camera)
    )
    if not masks:
        of = f' of {camera.name}' if camera and files else ''
        msg = f'{folder} holds no masks (.png){of}, and no {METADATA}, so it is no bag either'
        raise BagError(msg)
    return iter([Stamped(time, time, partial(load, path)) for time, path in masks])


def camera_and_stamp(path: Path) -> tuple[str, int]:
    """Return the camera, '' if none is named, and the stamp in nanoseconds by which a mask is called."""
    found = STAMP.fullmatch(path.stem)
    if found is None or (found['sec'] is not None and int(found['nanosec']) >= 10**9):
        remedy = 'call it <sec>_<nanosec>.png or <nanoseconds>.png'
        msg = f'the mask {path} is not named by its stamp: {remedy}'
        raise BagError(msg)
    return found['camera'] or '', int(found['sec'] or 0) * 10**9 + int(found['nanosec'])
