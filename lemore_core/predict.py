"""Write the labels, overlays and videos of images."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from lemore_core.common.errors import LemoreError, counted, span
from lemore_core.common.timeline import Timeline
from lemore_core.images.files import write_image, write_labels
from lemore_core.images.image import Pixels, to_rgb
from lemore_core.images.render import legend, overlay
from lemore_core.segmentation import Segmentation
from lemore_core.segmenter import Segmenter
from lemore_core.sources import Frame, Source
from lemore_core.taxonomy import Labels, Taxonomy

_log = logging.getLogger(__name__)
VIDEO = '.mp4'

LEGEND_WIDTH, LEGEND_AT_MOST = 640, 1 / 3  # pixels of a file of its own, of an image's height
OUT_OF_ORDER = 'not in the video: the stamp is not after the one before'


class PredictError(LemoreError):
    """Inputs whose results would have one name, or without a single image."""


def check_names(sources: Sequence[Source], output: Path) -> None:
    """Raise PredictError for sources that would write results of one name, or all one video."""
    if output.suffix == VIDEO and (len(sources) > 1 or not sources[0].is_moving):
        msg = f'{output} is one video, the inputs give images or several: give a folder'
        raise PredictError(msg)
    results = {output.absolute() / name for name in ('labels', 'overlay')}
    if any(results & {*path.absolute().parents} for one in sources for path in one.paths):
        msg = f'{output} lies in the inputs, and has results of an earlier run: give another folder'
        raise PredictError(msg)
    for name, count in Counter(name for one in sources for name in one.results).items():
        if count > 1:
            msg = f'{count} inputs are called {name!r}: predict them one at a time'
            raise PredictError(msg)


def predict(
    segmenter: Segmenter | None,
    source: Source,
    output: Path,
    *,
    alpha: float,
    frames: int | None = None,
    rotation: int = 0,
    has_legend: bool = False,
    observe: Callable[[str, Segmentation], object] = lambda *_: None,
) -> Iterator[Frame]:
    """Segment a source, write the results, and yield each image.

    Labels are class ids, with the classes' colours as palette: ``labels/NAME.png`` of an image
    file, ``labels/SOURCE/000000.png`` of a video, camera or bag. The overlay is
    ``overlay/NAME.png`` or the video ``overlay/SOURCE.mp4``; that of a bag has the camera's image
    on the left. An ``output`` that ends in .mp4 is that video, without labels. Labels that were
    recorded with a source are taken instead of the segmenter's.
    ``alpha`` (0..1) is the weight of the colours, ``frames`` the most images to take, ``rotation``
    in degrees clockwise; ``has_legend`` adds the classes' names, below the overlays or, where they
    are small, once as ``legend.png``. ``observe`` is called with
    each name and result.
    """
    taxonomy = source.taxonomy or (segmenter.taxonomy if segmenter else None)
    assert taxonomy is not None, 'a source without labels needs a segmenter'
    frame, legend_file = None, _legend_file(output)
    legend_file.unlink(missing_ok=True)
    with _overlays(source, output) as write:
        for frame in islice(source.frames(), frames):
            pixels, encoding, *_ = frame.image
            labels, bare = frame.labels, to_rgb(pixels, encoding)
            if segmenter and not source.taxonomy:
                image = frame.image._replace(rotation=rotation)
                (result,) = segmenter.segment_batch([image])
                labels = result.labels
                observe(f'{source.name}/{frame.name}', result)
            shown = bare
            if labels is not None:
                _write_mask(output, source, frame.name, labels, taxonomy)
                shown = overlay(pixels, encoding, labels, taxonomy.palette, alpha)
            if source.is_recording:
                shown = np.hstack([bare, shown])
            if has_legend:
                below = legend(taxonomy, shown.shape[1])
                if len(below) <= LEGEND_AT_MOST * len(shown):
                    shown = np.vstack([shown, below])
                elif not legend_file.exists():
                    write_image(legend_file, legend(taxonomy, LEGEND_WIDTH))
            write(frame, shown)
            yield frame
        if frame is None:
            msg = '; '.join([f'{source.name} gave no images', *source.errors])
            raise PredictError(msg)


def _legend_file(output: Path) -> Path:
    return output.with_suffix('.legend.png') if output.suffix == VIDEO else output / 'legend.png'


def _write_mask(
    output: Path, source: Source, name: str, labels: Labels, taxonomy: Taxonomy
) -> None:
    if output.suffix != VIDEO:
        folder = output / 'labels' / (source.name if source.is_moving else '')
        write_labels(folder / f'{name}.png', labels, taxonomy)


@contextmanager
def _overlays(source: Source, output: Path) -> Iterator[Callable[[Frame, Pixels], None]]:
    """Yield what writes an image's overlay: as a file, or into a video of the first one's size."""
    if not source.is_moving:
        yield lambda frame, shown: write_image(output / 'overlay' / f'{frame.name}.png', shown)
        return
    from lemore_core.images.video import video_writer

    times, size = Timeline(), (0, 0)
    path = output if output.suffix == VIDEO else output / 'overlay' / f'{source.name}{VIDEO}'
    with video_writer(path) as video:

        def write(frame: Frame, shown: Pixels) -> None:
            nonlocal size
            if not times.add(frame.stamp_ns or 0):
                source.errors[OUT_OF_ORDER] += 1
                return
            size = size if video.count else (shown.shape[1], shown.shape[0])
            if shown.shape[1::-1] != size:
                shown = np.asarray(cv2.resize(shown, size), np.uint8)
            video.write(times.time_ns, shown)

        yield write
    if cut := times.cut_ns:
        longest = span(max(cut, key=abs) / 1e9)
        jumps = f'{counted(len(cut), "jump")} of its stamps ({longest})'
        _log.warning('%s: %s cut out of the video', source.name, jumps)
