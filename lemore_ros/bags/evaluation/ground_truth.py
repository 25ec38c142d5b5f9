"""Ground truth for the images of a sequence: a topic, a folder of masks, or another bag.

The masks of a folder are named by the stamps of their images: ``<sec>_<nanosec>.png``, as in
``1700000000_250000000.png``, or ``<nanoseconds>.png``, as in ``1700000000250000000.png``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lemore_core.data.readers import read_ids_or_colors
from lemore_core.data.readers import read_labels as read_label_file
from lemore_core.refine import resized
from lemore_core.taxonomy import Labels, Taxonomy, TaxonomyError
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.evaluation.label_images import read_labels
from lemore_ros.bags.evaluation.matching import Matcher, Stamped, stamped_messages
from lemore_ros.bags.files import METADATA
from lemore_ros.bags.reader import open_bag
from lemore_ros.bags.topics import label_topic

CLASS_IDS, DATASET_IDS = 'classes', 'dataset'
SHAPE_SLACK = 0.01
STAMP = re.compile(r'(?:(?P<sec>\d+)_)?(?P<nanosec>\d+)')

TruthItems = Iterator[Stamped[Labels]]


class GroundTruth:
    """Label images by the time of the image that they belong to.

    ``source`` says where they are from.
    """

    def __init__(
        self, items: TruthItems, source: str, tolerance_ns: int, resources: ExitStack
    ) -> None:
        self.source = source
        self.matcher = Matcher(items, tolerance_ns)
        self._tolerance = tolerance_ns
        self._resources = resources

    def at(self, time_ns: int, next_ns: int | None) -> Labels | None:
        """Return the ground truth (H, W) of an image; ``next_ns`` is the next one's time.

        Raises:
            LemoreError: it cannot be read.
        """
        found = self.matcher.take(time_ns, next_ns)
        return None if found is None else found.load()

    def require_matches(self, first_ns: int, last_ns: int) -> None:
        """Refuse to have found nothing; the arguments are the bounds of the images' times.

        Raises:
            BagError: with the times of both.
        """
        self.matcher.finish()
        if self.matcher.matched:
            return
        own = self.matcher.first_ns, self.matcher.last_ns
        times = 'it is empty' if None in own else f'it spans {_span(own[0], own[1])}'
        msg = (
            f'no ground truth of {self.source} is within {self._tolerance / 1e6:g} ms of an image: '
            f'{times}, the images {_span(first_ns, last_ns)}; '
            'check its stamps, or raise --tolerance-ms'
        )
        raise BagError(msg)

    def close(self) -> None:
        """Close the bag, if it is one."""
        self._resources.close()


def open_ground_truth(
    text: str,
    bag_path: Path,
    taxonomy: Taxonomy,
    tolerance_ns: int,
    *,
    topic: str = '',
    ids: str = CLASS_IDS,
) -> GroundTruth:
    """Open ground truth: a topic of the bag ``bag_path``, a folder, or another bag.

    ``topic`` is that of another bag. ``ids`` says what the numbers of a folder's masks are:
    ``classes``, or ``dataset`` for the data set's own ids or colours.

    Raises:
        BagError: it is none of these, or holds no labels.
    """
    resources = ExitStack()
    path = Path(text)
    with open_bag(bag_path) as bag:
        names = {one.name for one in bag.topics}
    if text in names:
        items, source = _of_bag(bag_path, text, taxonomy, resources), text
    elif path.is_dir() and not (path / METADATA).exists():
        read = read_label_file if ids == CLASS_IDS else read_ids_or_colors
        items, source = _of_folder(path, partial(_read_file, read, taxonomy=taxonomy)), text
    elif path.exists():
        items, source = _of_bag(path, topic, taxonomy, resources), text
    else:
        msg = f'{text} is no topic of {bag_path}, and there is no folder or bag of that name'
        raise BagError(msg)
    return GroundTruth(items, source, tolerance_ns, resources)


def to_size_of_ground_truth(image: NDArray[Any], truth: Labels) -> NDArray[Any]:
    """Return labels or confidences (H, W) at the size of the ground truth, by nearest neighbour.

    Raises:
        BagError: the two differ in shape by more than rounding, so they show other things.
    """
    (height, width), (true_height, true_width) = image.shape, truth.shape
    if abs(height * true_width / (width * true_height) - 1) > SHAPE_SLACK and (
        abs(height * true_width / width - true_height) > 1
    ):
        msg = (
            f'the ground truth is {true_width}x{true_height} and the image {width}x{height}: '
            'they differ in shape, so they are not of one camera'
        )
        raise BagError(msg)
    return resized(image, (true_height, true_width))


def stamp_of_name(path: Path) -> int:
    """Return the nanoseconds that a mask is named by.

    Raises:
        BagError: the name is no stamp.
    """
    found = STAMP.fullmatch(path.stem)
    if found is None or (found['sec'] is not None and int(found['nanosec']) >= 10**9):
        msg = (
            f'the mask {path} is not named by its stamp: '
            'call it <sec>_<nanosec>.png or <nanoseconds>.png'
        )
        raise BagError(msg)
    return int(found['sec'] or 0) * 10**9 + int(found['nanosec'])


def _of_folder(folder: Path, read: Callable[[Path], Labels]) -> TruthItems:
    masks = sorted((stamp_of_name(path), path) for path in folder.glob('*.png'))
    if not masks:
        msg = f'{folder} holds no masks (.png), and no {METADATA}, so it is no bag either'
        raise BagError(msg)
    return iter([Stamped(time, None, partial(read, path)) for time, path in masks])


def _read_file(read: Callable[[Path, Taxonomy], Labels], path: Path, taxonomy: Taxonomy) -> Labels:
    try:
        return read(path, taxonomy)
    except TaxonomyError as error:
        msg = (
            f'{path}: {error}; --ground-truth-ids says whether masks hold class ids ({CLASS_IDS}) '
            f"or the data set's own ids or colors ({DATASET_IDS})"
        )
        raise BagError(msg) from error


def _of_bag(path: Path, topic: str, taxonomy: Taxonomy, resources: ExitStack) -> TruthItems:
    bag = resources.enter_context(open_bag(path))
    chosen = label_topic(bag, topic, option='--ground-truth-topic')
    return stamped_messages(bag, chosen, partial(read_labels, taxonomy=taxonomy))


def _span(first_ns: int | None, last_ns: int | None) -> str:
    return f'{(first_ns or 0) / 1e9:.3f} to {(last_ns or 0) / 1e9:.3f} s'
