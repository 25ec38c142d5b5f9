"""Chooses the images to learn from: every n-th, neither blurred nor nearly the same as another."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.files import write_whole
from lemore_core.common.limits import parse_json
from lemore_core.common.validation import check_fields, option
from lemore_core.data.drives import image_hash, near_duplicates
from lemore_core.distill.errors import DistillError
from lemore_core.distill.sources import Frame, ImageSource
from lemore_core.images.files import ImageFileError, encode_image, read_image

MOVING_EVERY = 10  # of a video or a bag: two or three images a second
NEIGHBOURS = 50  # images whose sharpness a blurred one is compared with
FEWEST_NEIGHBOURS = 5
SHARPNESS_WIDTH = 480  # pixels: fine noise of a large image is no sharpness
LIST = 'frames.json'


@dataclass(frozen=True)
class FrameOptions:
    """Which images are taken.

    Raises:
        DistillError: a value is out of bounds.
    """

    every: int | None = option(
        None, 'take every n-th image; of videos and bags every 10th by default', low=1
    )
    sharpness: float = option(
        0.25, "leave out what has less than this share of its neighbours' sharpness", low=0, high=1
    )

    def __post_init__(self) -> None:
        check_fields(self, DistillError)


@dataclass(frozen=True)
class Frames:
    """The images taken of a drive, and how many were left out by reason."""

    images: tuple[Path, ...]
    hashes: tuple[int, ...]
    left_out: Counter[str]


class FrameStore:
    """Keeps the chosen images of each drive in a folder of ``folder``.

    A drive that was read before, from the same files by the same options, is not read again.
    """

    def __init__(self, folder: Path, options: FrameOptions) -> None:
        self._folder = folder
        self._options = options
        self._hashes: list[int] = []

    def take(
        self, sources: Sequence[ImageSource], on_image: Callable[[int], object] = lambda _: None
    ) -> Frames:
        """Return the images of the sources of one drive; ``on_image`` is called with 1 for each.

        Raises:
            DistillError: not one image can be taken.
            OSError: an image cannot be written.
        """
        folder = self._folder / sources[0].drive
        key = self._key(sources)
        found = _listed(folder, key)
        if found is None:
            found = self._read(folder, sources, on_image)
            values: dict[str, Any] = {'key': key, 'images': [p.name for p in found.images]}
            values |= {'hashes': found.hashes, 'left_out': found.left_out}
            write_whole(folder / LIST, json.dumps(values))
        self._hashes += found.hashes
        return found

    def _key(self, sources: Sequence[ImageSource]) -> str:
        stats = [
            (str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns)
            for source in sources
            for path in source.paths
        ]
        # what was taken of other drives decides what is a duplicate in this one
        values = [dataclasses.asdict(self._options), stats, self._hashes]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()

    def _read(
        self, folder: Path, sources: Sequence[ImageSource], on_image: Callable[[int], object]
    ) -> Frames:
        sharpnesses: deque[float] = deque(maxlen=NEIGHBOURS)
        images: list[Path] = []
        hashes: list[int] = []
        left_out: Counter[str] = Counter()
        # numbers of the images in the drive, so that a name says where it was
        frames = enumerate(chain.from_iterable(source.frames() for source in sources))
        every = self._options.every or (MOVING_EVERY if sources[0].is_moving else 1)
        for number, frame in islice(frames, 0, None, every):
            on_image(1)
            try:
                pixels = read_image(frame) if isinstance(frame, Path) else frame
            except ImageFileError:
                left_out['unreadable'] += 1
                continue
            sharpness, fingerprint = _sharpness(pixels), image_hash(pixels)
            sharpnesses.append(sharpness)
            enough = len(sharpnesses) >= FEWEST_NEIGHBOURS
            if enough and sharpness < self._options.sharpness * median(sharpnesses):
                left_out['blurred'] += 1
            elif near_duplicates([*self._hashes, *hashes], [fingerprint]):
                left_out['nearly the same as another'] += 1
            else:
                hashes.append(fingerprint)
                images.append(_write(folder / f'{sources[0].drive}_{number:06}', frame))
        if not images:
            names = ', '.join(str(source.paths[0]) for source in sources)
            reasons = ', '.join(f'{count} {reason}' for reason, count in left_out.items())
            msg = f'{names} gave no images ({reasons or "there are none in it"})'
            raise DistillError(msg)
        return Frames(tuple(images), tuple(hashes), left_out)


def _listed(folder: Path, key: str) -> Frames | None:
    """Return what an earlier run took, None where there was none, or another."""
    try:
        values = parse_json((folder / LIST).read_bytes())
        images = tuple(folder / name for name in values['images'])
        found = Frames(images, tuple(values['hashes']), Counter(values['left_out']))
        is_same = values['key'] == key
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if is_same and all(path.is_file() for path in images) else None


def _write(stem: Path, frame: Frame) -> Path:
    """Write an image and return its path; a file is copied as it is."""
    if isinstance(frame, Path):
        path, content = stem.with_suffix(frame.suffix.lower()), frame.read_bytes()
    else:
        path, content = stem.with_suffix('.jpg'), encode_image(frame, '.jpg')
    write_whole(path, content)
    return path


def _sharpness(pixels: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian of RGB (H, W, 3) uint8."""
    height, width = pixels.shape[:2]
    size = (SHARPNESS_WIDTH, max(1, round(height * SHARPNESS_WIDTH / width)))
    grey = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())
