"""How fast a bag is labelled on this machine, and what the steps gain by working at once."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lemore_core.image import Image
from lemore_core.segmenter import Segmenter
from lemore_core.system.cpu import usable_processors
from lemore_core.system.process_memory import process_memory
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.reader import decode
from lemore_ros.bags.segmentation.options import SegmentOptions
from lemore_ros.bags.segmentation.segment import Job, Session, begin

IMAGES = 8


@dataclass(frozen=True)
class Rates:
    """Frames a second: one step after the other, all at once, and of the network alone.

    Only the network has more than one thread where steps are done one after the other. Its own
    rate is that of images in memory to labels, with nothing else to do. ``processor_ms`` is how
    long processors work for a frame where all steps are done at once, and ``processors`` how many
    there are. ``peak_mb`` is the most memory (10^6 bytes) of this process.
    """

    frames: int
    plain_hz: float
    pipelined_hz: float
    network_hz: float
    processor_ms: float
    processors: int
    peak_mb: float

    @property
    def gain(self) -> float:
        """How many times faster all at once is."""
        return self.pipelined_hz / self.plain_hz

    @property
    def bound_hz(self) -> float:
        """The rate at which no processor would ever wait: no order of the steps is faster."""
        return 1e3 * self.processors / self.processor_ms


class _Turn(NamedTuple):
    hz: float
    processor_ms: float


def measure(source: Path, options: SegmentOptions, *, turns: int) -> Rates:
    """Label the same stretch of a bag both ways, ``turns`` times by turns, and take the best.

    By turns, because other programs take a share of the machine that changes with time.

    Raises:
        LemoreError: the bag cannot be labelled.

    """
    images = _images(source, options)
    segmenter = _loaded(options, images)
    plain: list[_Turn] = []
    pipelined: list[_Turn] = []
    network: list[float] = []
    frames = 0
    with tempfile.TemporaryDirectory(prefix='lemore-bag-') as folder:
        for turn in range(turns):
            network.append(_network_rate(segmenter, images))
            for is_plain, rates in ((True, plain), (False, pipelined)):
                job = Job(source, Path(folder, f'{turn}-{is_plain}'), options)
                frames, taken = _time(job, segmenter, is_plain=is_plain)
                rates.append(taken)
    best = max(pipelined)
    return Rates(
        frames,
        plain_hz=round(max(plain).hz, 1),
        pipelined_hz=round(best.hz, 1),
        network_hz=round(max(network), 1),
        processor_ms=round(best.processor_ms, 1),
        processors=len(usable_processors()),
        peak_mb=round(process_memory().peak_mb, 1),
    )


def _time(job: Job, segmenter: Segmenter, *, is_plain: bool) -> tuple[int, _Turn]:
    plan, parts, _ = begin(job, resume=False)
    with Session(plan.job, segmenter=segmenter, is_plain=is_plain) as session:
        started, worked = time.perf_counter(), time.process_time()
        frames = sum(session.make(part).frames for part in parts)
        took, worked = time.perf_counter() - started, time.process_time() - worked
    return frames, _Turn(frames / took, 1e3 * worked / frames)


def _loaded(options: SegmentOptions, images: list[Image]) -> Segmenter:
    segmenter = options.model.load()
    # the first image of a size loads the network for it
    segmenter.segment_batch(images[:1])
    return segmenter


def _network_rate(segmenter: Segmenter, images: list[Image]) -> float:
    started = time.perf_counter()
    batch = segmenter.status.batch
    for first in range(0, len(images), batch):
        segmenter.segment_batch(images[first : first + batch])
    return len(images) / (time.perf_counter() - started)


def _images(source: Path, options: SegmentOptions) -> list[Image]:
    anywhere = dataclasses.replace(options, only_results=True)
    found: list[Image] = []
    with Session(Job(source, source, anywhere)) as session:
        for record in session.bag.messages([session.cameras[0].topic]):
            image = decode(record)
            if isinstance(image, Image):
                found.append(image)
            if len(found) == IMAGES:
                return found
    if not found:
        msg = f'{source} holds no image that can be labelled'
        raise BagError(msg)
    return found
