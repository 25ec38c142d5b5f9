"""Pick the frames of drives that are most worth a person's time, and write them as a data set."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.files import write_whole
from lemore_core.data.annotation import write_classes
from lemore_core.images.files import write_image, write_labels
from lemore_core.images.image import to_rgb
from lemore_core.segmentation import Segmentation
from lemore_core.segmenter import Segmenter
from lemore_core.sources import Frame, Source

ALIKE = 2.0  # mean difference, in grey levels, of what a standing robot sees twice
SMALL = 16, 12  # width and height of images that are compared


class Seen(NamedTuple):
    """Figures of a frame: the ``number``-th of its source, at ``seconds`` of its stamps.

    ``familiarity`` is NaN where the model does not know it; ``small`` is a grey image (12, 16).
    """

    source: Source
    number: int
    seconds: float
    familiarity: float
    sureness: float
    small: NDArray[np.float32]


def judge(result: Segmentation) -> tuple[float, float]:
    """Return familiarity, NaN where it is unknown, and sureness, else the mean confidence."""
    confidence = float(result.confidence.mean()) / 255
    familiarity = math.nan if result.familiarity is None else result.familiarity
    return familiarity, confidence if result.sureness is None else result.sureness


def look(segmenter: Segmenter, source: Source, every: int) -> Iterator[Seen]:
    """Segment every n-th frame of a source, and yield its figures."""
    for number, frame in islice(enumerate(source.frames()), 0, None, every):
        # image files have no time: each is a moment of its own
        seconds = number * 1e9 if frame.stamp_ns is None else frame.stamp_ns / 1e9
        figures = judge(segmenter.segment_batch([frame.image])[0])
        grey = cv2.cvtColor(to_rgb(*frame.image[:2]), cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, SMALL, interpolation=cv2.INTER_AREA).astype(np.float32)
        yield Seen(source, number, seconds, *figures, small)


def choose(seen: Sequence[Seen], number: int, apart_s: float) -> list[Seen]:
    """Choose at most ``number`` frames: the least familiar or sure first, of each drive in turn.

    Two of a drive are ``apart_s`` seconds apart, and do not show the same.
    """
    # places, since the two figures have no common unit; those of one value share theirs
    figures = [(one.familiarity, one.sureness) for one in seen]
    columns = [np.array(column) for column in zip(*figures, strict=True)]
    places = [np.searchsorted(np.sort(one), one) for one in columns if not np.isnan(one).any()]
    order = np.lexsort([np.sum(places, 0), np.min(places, 0)])
    waiting: dict[str, Iterator[Seen]] = {}
    for drive in dict.fromkeys(seen[place].source.drive for place in order):
        waiting[drive] = iter([seen[i] for i in order if seen[i].source.drive == drive])
    chosen: dict[str, list[Seen]] = {drive: [] for drive in waiting}
    while waiting and sum(map(len, chosen.values())) < number:
        for drive, rest in list(waiting.items()):
            found = next((one for one in rest if _is_new(one, chosen[drive], apart_s)), None)
            if found is None:
                del waiting[drive]
            elif sum(map(len, chosen.values())) < number:
                chosen[drive].append(found)
    return [one for found in chosen.values() for one in found]


def write_picked(
    segmenter: Segmenter, chosen: Sequence[Seen], output: Path, report: Callable[[], object]
) -> None:
    """Write the chosen frames with the model's labels as a data set of the layout ``folder``.

    Images are called ``DRIVE_SECONDS_NANOSECONDS``, with the camera after the drive where that has
    several, or by the names of their files; ``picked.csv`` has the figures of each.
    """
    taxonomy = segmenter.taxonomy
    rows: list[tuple[str, ...]] = [('image', 'from', 'familiarity', 'sureness')]
    taken = set[str]()
    for one, frame in _again(chosen):
        name = f'{frame.drive}_' + (
            '{}_{:09}'.format(*divmod(frame.stamp_ns, 10**9))
            if frame.stamp_ns is not None
            else frame.name.replace('/', '-').removeprefix(f'{frame.drive}_')
        )
        # stamps may be equal
        name += f'-{len(rows)}' if name in taken else ''
        taken.add(name)
        labels = segmenter.segment_batch([frame.image])[0].labels
        write_image(output / 'images' / 'train' / f'{name}.png', to_rgb(*frame.image[:2]))
        write_labels(output / 'masks' / 'train' / f'{name}.png', labels, taxonomy)
        figures = ('' if math.isnan(v) else f'{v:.4f}' for v in (one.familiarity, one.sureness))
        rows.append((name, one.source.name, *figures))
        report()
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    write_whole(output / 'picked.csv', text.getvalue())
    write_classes(output, taxonomy)


def _again(chosen: Sequence[Seen]) -> Iterator[tuple[Seen, Frame]]:
    """Read the chosen frames; errors were counted the first time."""
    sources = {id(one.source): replace(one.source, errors=Counter()) for one in chosen}
    for key, source in sources.items():
        wanted = {one.number: one for one in chosen if id(one.source) == key}
        for number, frame in enumerate(islice(source.frames(), max(wanted) + 1)):
            if number in wanted:
                yield wanted[number], frame


def _is_new(one: Seen, chosen: Sequence[Seen], apart_s: float) -> bool:
    return all(
        abs(one.seconds - other.seconds) >= apart_s
        and float(np.abs(one.small - other.small).mean()) > ALIKE
        for other in chosen
    )
