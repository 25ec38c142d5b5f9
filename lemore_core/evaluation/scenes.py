"""Measure what familiarity and sureness compare with, and how well they tell unusual images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import cv2
import numpy as np

from lemore_core.data.drives import drive_names, drives
from lemore_core.data.samples import Sample
from lemore_core.evaluation.evaluate import require_classes
from lemore_core.evaluation.metrics import Calibration
from lemore_core.familiarity import (
    UNFAMILIAR,
    Fold,
    SceneStatistics,
    StatisticsError,
    Values,
    fit_temperature,
    folds_of,
)
from lemore_core.images.image import Image, Pixels, rotated, to_rgb
from lemore_core.segmentation import Segmentation
from lemore_core.segmenter import Segmenter
from lemore_core.sources import Frame, Source, open_sources

MOST_IMAGES = 1000  # of each split
MOST_CORRUPTED = 60  # of each drive


def descriptor_of(result: Segmentation) -> Values:
    """Return the descriptor of a result, or explain that there is none."""
    if result.descriptor is None:
        remedy = 'export it again, or import it with --reference IMAGES'
        msg = f'the network gives no descriptors of images, which familiarity needs: {remedy}'
        raise StatisticsError(msg)
    return result.descriptor


def measure_scenes(
    segmenter: Segmenter,
    train: Sequence[Sample],
    val: Sequence[Sample],
    progress: Callable[[Iterable[Sample]], Iterable[Sample]] = iter,
) -> SceneStatistics:
    """Measure the scenes of a data set; the temperature is fitted on ``val``.

    Where drives of ``val`` have no images in ``train``, their distances count; otherwise each drive
    is left out in turn, see :meth:`lemore_core.familiarity.SceneStatistics.of`.
    """
    calibration = Calibration(len(segmenter.taxonomy.classes))
    found: dict[str, list[Values]] = {}
    first = thinned(train, MOST_IMAGES)
    samples = [*first, *thinned(val, MOST_IMAGES)]
    names = drive_names([sample.image for sample in samples])
    for number, sample in enumerate(progress(samples)):
        require_classes(sample, segmenter.taxonomy)
        image, truth = sample.read_pair()
        result = segmenter.segment(image)
        found.setdefault(names[number], []).append(descriptor_of(result))
        if number >= len(first):
            calibration.add(truth, result.labels, result.confidence)
    held_out = set(names[len(first) :]) - set(names[: len(first)])
    stacked = {name: np.stack(rows) for name, rows in found.items()}
    statistics = SceneStatistics.of(stacked, sorted(held_out))
    temperature = fit_temperature(calibration.counts, calibration.hits)
    return dataclasses.replace(statistics, temperature=temperature)


def reference_scenes(segmenter: Segmenter, inputs: Sequence[str]) -> SceneStatistics:
    """Measure the scenes of images without labels; there is no temperature."""
    found: dict[str, list[Values]] = {}
    for source in open_sources(inputs):
        for frame in spread(source, MOST_IMAGES):
            (result,) = segmenter.segment_batch([frame.image])
            found.setdefault(source.drive, []).append(descriptor_of(result))
    return SceneStatistics.of({drive: np.stack(rows) for drive, rows in found.items()})


def spread(source: Source, most: int) -> Iterator[Frame]:
    """Yield about ``most`` of the images of a source, evenly spaced."""
    return islice(source.frames(), 0, None, max(1, (source.expected or 0) // most))


def thinned(items: Sequence[Any], most: int) -> Sequence[Any]:
    """Return at most ``most`` of the items, evenly spaced."""
    return items[:: max(1, -(-len(items) // most))]


def _foggy(image: Pixels) -> Pixels:
    return cv2.addWeighted(image, 0.35, np.full_like(image, 200), 0.65, 0).astype(np.uint8)


def _covered(image: Pixels) -> Pixels:
    covered, (height, width) = image.copy(), image.shape[:2]
    cv2.circle(covered, (width // 2, height // 2), int(0.42 * height), (40, 38, 35), -1)
    return cv2.GaussianBlur(covered, (0, 0), height / 30).astype(np.uint8)


CORRUPTIONS: Mapping[str, Callable[[Pixels], Pixels]] = {
    'dark': lambda image: (image * 0.2).astype(np.uint8),
    'fog': _foggy,
    'blur': lambda image: cv2.GaussianBlur(image, (0, 0), image.shape[0] / 72).astype(np.uint8),
    'covered lens': _covered,
    'upside down': lambda image: np.ascontiguousarray(image[::-1, ::-1]),
    'BGR as RGB': lambda image: np.ascontiguousarray(image[..., ::-1]),
}


def _brighter(image: Pixels, factor: float) -> Pixels:
    return np.asarray(np.clip(image * factor, 0, 255), np.uint8)


# changes that make images more like the training images, and what to do then
REMEDIES: Mapping[str, Callable[[Pixels], Pixels]] = {
    **{
        f'turned by {degrees} degrees, they are upright: set rotate': partial(
            rotated, degrees=degrees
        )
        for degrees in (180, 90, 270)
    },
    'with red and blue exchanged: correct the encoding of the camera': CORRUPTIONS['BGR as RGB'],
    'brighter: raise the exposure of the camera': partial(_brighter, factor=2.0),
    'darker: lower the exposure of the camera': partial(_brighter, factor=0.5),
}
WORTHWHILE = 0.1  # rise of familiarity and mean confidence together
OTHERWISE = 'clean and focus the lens, or train on its images: lemore distill (docs/street.md)'


def advise(segmenter: Segmenter, images: Sequence[Image]) -> str:
    """Return what to do about unusual images, by trying each remedy on them; '' for ordinary ones."""
    frames = [to_rgb(image.pixels, image.encoding) for image in images]

    def judged(change: Callable[[Pixels], Pixels]) -> tuple[float, float]:
        found = [segmenter.segment(np.ascontiguousarray(change(frame))) for frame in frames]
        familiarity = float(np.mean([one.familiarity or 0.0 for one in found]))
        return familiarity, float(np.mean([one.confidence.mean() for one in found])) / 255

    before = judged(lambda frame: frame)
    tried = {text: judged(change) for text, change in REMEDIES.items()}
    best = max(tried, key=lambda text: sum(tried[text]))
    if sum(tried[best]) < sum(before) + WORTHWHILE:
        return OTHERWISE if before[0] < UNFAMILIAR else ''
    (known, sure), (known_before, sure_before) = tried[best], before
    return (
        f'familiarity {known:.2f} instead of {known_before:.2f} and mean confidence {sure:.2f} '
        f'instead of {sure_before:.2f} {best}'
    )


def auroc(unusual: Values, usual: Values) -> float:
    """Return the probability that an unusual value exceeds a usual one; ties count half."""
    return float(((unusual[:, None] > usual).mean() + (unusual[:, None] >= usual).mean()) / 2)


def corruption_table(
    segmenter: Segmenter,
    samples: Sequence[Sample],
    elsewhere: Sequence[Source],
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> str:
    """Return a table in Markdown of the AUROC by familiarity / by mean confidence.

    Images of each fold's drives are compared with the same images corrupted, or with those of
    another place, by their distance from the images of the other drives.
    """
    unusual: dict[str, Callable[[Pixels], Pixels]] = {'': lambda image: image, **CORRUPTIONS}
    seen: dict[str, dict[str, Values]] = {what: {} for what in unusual}
    for name, found in progress(drives(samples).items()):
        images = [sample.read_image() for sample in thinned(found, MOST_CORRUPTED)]
        for what, corrupt in unusual.items():
            seen[what][name] = _rows(segmenter, map(corrupt, images))
    places = {
        source.name: _rows(
            segmenter, (to_rgb(*f.image[:2]) for f in spread(source, MOST_CORRUPTED))
        )
        for source in elsewhere
    }
    folds = folds_of(seen[''])
    rows = [['images', *folds], ['---'] * (1 + len(folds))]
    for what in [*CORRUPTIONS, *places]:
        cells = []
        for name, (kept, held_out) in folds.items():
            fold = Fold.of(kept[:, 1:], held_out[:, 1:])
            odd = places[what] if what in places else folds_of(seen[what])[name][1]
            familiarity = auroc(fold.distance(odd[:, 1:]), fold.distance(held_out[:, 1:]))
            cells.append(f'{familiarity:.2f} / {auroc(-odd[:, 0], -held_out[:, 0]):.2f}')
        rows.append([what, *cells])
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def _rows(segmenter: Segmenter, images: Iterable[Pixels]) -> Values:
    """Return mean confidence and descriptor of each image, (images, 1 + n)."""
    results = map(segmenter.segment, images)
    return np.stack([[one.confidence.mean() / 255, *descriptor_of(one)] for one in results])
