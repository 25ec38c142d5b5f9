"""The steps from recorded messages to those that are written, each for a few frames at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from lemore_core.errors import LemoreError
from lemore_core.image import Image
from lemore_core.refine import Refinement
from lemore_core.segmentation import Segmentation
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import Taxonomy
from lemore_ros.bags.cameras import CameraTopic
from lemore_ros.bags.io.reader import Record, decode
from lemore_ros.bags.segmentation.messages import serialize, to_compressed, to_image
from lemore_ros.messages.rendering import Rendering
from lemore_ros.outputs import OUTPUTS

# so many bytes of messages that are not labelled go with the next frame at most
GROUP_BYTES = 8 * 2**20
# a message of so many bytes is written before the next one is made
LARGE_BYTES = 2**20


class Out(NamedTuple):
    """A serialised message on its way into the bag; ``output`` is empty for a recorded one."""

    record: Record
    camera: CameraTopic | None
    output: str
    data: bytes | memoryview


@dataclass
class Shot:
    """A record on its way through the steps; ``camera`` where it is to be labelled."""

    record: Record
    camera: CameraTopic | None = None
    image: Image | None = None
    result: Segmentation | None = None
    problem: str = ''


# a few frames and the messages before them
Group = deque[Shot]


@dataclass
class Batch:
    """Messages to write next; with the last ones of a frame, the frame is counted."""

    messages: deque[Out] = field(default_factory=deque)
    frames: int = 0
    problems: list[str] = field(default_factory=list)


class Stages:
    """The steps for a network and what is asked of it."""

    def __init__(
        self,
        segmenter: Segmenter,
        refinement: Refinement,
        taxonomy: Taxonomy,
        outputs: Iterable[str],
        *,
        alpha: float,
        only_results: bool,
    ) -> None:
        self._segmenter = segmenter
        self._refinement = refinement
        self._taxonomy = taxonomy
        self._outputs = [OUTPUTS[name] for name in outputs if OUTPUTS[name].is_image]
        self._alpha = alpha
        self._only_results = only_results

    def decode(self, group: Group) -> Group:
        """Make images of the images that are to be labelled."""
        for shot in group:
            if shot.camera is not None:
                image = decode(shot.record)
                if isinstance(image, Image):
                    shot.image = image
                else:
                    shot.problem = str(image)
        return group

    def segment(self, group: Group) -> Group:
        """Label the images; one that fails does not cost the others theirs."""
        shots = [shot for shot in group if shot.image is not None]
        images = [shot.image for shot in shots if shot.image]
        try:
            results = self._segmenter.segment_batch(images)
        except LemoreError:
            results = []
        if len(results) == len(shots):
            for shot, result in zip(shots, results, strict=True):
                shot.result = self._refinement.apply(result)
        else:
            for shot, image in zip(shots, images, strict=True):
                self._segment_one(shot, image)
        return group

    def encode(self, groups: Iterable[Group]) -> Iterator[Batch]:
        """Make messages of the labels, a few at a time: those of a large frame are large."""
        for group in groups:
            batch = Batch()
            while group:
                shot = group.popleft()
                for out in self._outs(shot):
                    batch.messages.append(out)
                    if len(out.data) > LARGE_BYTES:
                        yield batch
                        batch = Batch()
                batch.frames += shot.result is not None
                if shot.problem:
                    batch.problems.append(f'{shot.record.topic.name}: {shot.problem}')
            yield batch

    def _segment_one(self, shot: Shot, image: Image) -> None:
        try:
            result = self._segmenter.segment_batch([image])[0]
            shot.result = self._refinement.apply(result)
        except LemoreError as error:
            shot.problem = str(error)

    def _outs(self, shot: Shot) -> Iterator[Out]:
        if not self._only_results:
            yield Out(shot.record, None, '', shot.record.data)
        if shot.image is None or shot.result is None:
            return
        rendering = Rendering(
            shot.image,
            shot.result,
            self._taxonomy,
            self._alpha,
            to_image=to_image,
            to_compressed=to_compressed,
        )
        for output in self._outputs:
            data = serialize(rendering.message(output), output.type)
            yield Out(shot.record, shot.camera, output.name, data)


def group(
    records: Iterable[Record], camera_of: Callable[[Record], CameraTopic | None], *, batch: int
) -> Iterator[Group]:
    """Gather records until ``batch`` of them are to be labelled, or they are many."""
    shots = Group()
    frames = size = 0
    for record in records:
        shots.append(Shot(record, camera_of(record)))
        frames += shots[-1].camera is not None
        size += len(record.data)
        if frames == batch or (frames == 0 and size > GROUP_BYTES):
            yield shots
            shots, frames, size = Group(), 0, 0
    if shots:
        yield shots
