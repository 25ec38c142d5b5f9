"""Log images, labels and figures over time to the viewer of Rerun, or to a file for it (``.rrd``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError, refusing
from lemore_core.images.files import encode_image
from lemore_core.images.image import Image, to_rgb
from lemore_core.taxonomy import Labels, Taxonomy

WORST = 10  # frames of the least confidence, which are listed at the end


class ViewerError(LemoreError):
    """Rerun is not installed, or its viewer or file cannot be opened."""


class View(AbstractContextManager['View']):
    """Logs to the file ``save`` or the viewer, at the moment of the last :meth:`at`.

    ``sources`` are the names of several, which may be of one time: each is logged apart, as ``source``.
    """

    def __init__(self, save: Path | None = None, sources: Sequence[str] = ('',)) -> None:
        try:
            import rerun
        except ImportError as error:
            msg = "the viewer is Rerun, which is not installed: pip install 'lemore_ros[view]'"
            raise ViewerError(msg) from error
        self._rerun = rerun
        self._recording = rerun.RecordingStream('lemore')
        self.source = sources[0]
        self._taxonomy: Taxonomy | None = None
        self._moment: dict[str, dict[str, Any]] = {}
        self._confidences: list[tuple[float, str, dict[str, dict[str, Any]]]] = []
        with refusing(f'Rerun cannot open {save or "its viewer"}', ViewerError):
            if save is not None:
                save.parent.mkdir(parents=True, exist_ok=True)
                self._recording.save(save)
            else:
                # the viewer inherits it, and sends no usage data from such a machine
                os.environ['CI'] = 'true'
                self._recording.spawn()
        self._recording.send_blueprint(_blueprint(sources))

    def __exit__(self, kind: object, *_: object) -> None:
        for mean, source, moment in self._confidences if kind is None else ():
            self.source = source
            self._set_time(moment)
            text = f'mean confidence {mean:.1f} %'
            self._log('worst', self._rerun.TextLog(text, level='WARN'))
        self._recording.flush()
        self._recording.disconnect()

    def describe(self, taxonomy: Taxonomy) -> None:
        """Log the names and colours of the classes."""
        self._taxonomy = taxonomy
        pairs = list(zip(taxonomy.classes, taxonomy.colors, strict=True))
        rows = [(label, *pair) for label, pair in enumerate(pairs)]
        self._log('', self._rerun.AnnotationContext(rows), static=True)
        for name, color in pairs:
            line = self._rerun.SeriesLines(colors=[color], names=[name])
            self._log(f'classes/{name}', line, static=True)

    def at(self, *, frame: int | None = None, stamp_ns: int | None = None) -> None:
        """Set the moment: the number of a frame, the nanoseconds of a stamp, or both."""
        self._moment = {} if frame is None else {'frame': {'sequence': frame}}
        if stamp_ns is not None:
            self._moment['stamp'] = {'timestamp': stamp_ns / 1e9}
        self._set_time(self._moment)

    def image(self, image: Image) -> None:
        """Log a camera's image; as JPEG, since a drive in pixels fills the memory."""
        data = encode_image(to_rgb(image.pixels, image.encoding), '.jpg')
        encoded = self._rerun.EncodedImage(contents=data, media_type='image/jpeg')
        self._log('camera/image', encoded)

    def labels(self, labels: Labels, confidence: NDArray[np.uint8] | None = None) -> None:
        """Log labels, the share of each class, and their confidence, all (H, W)."""
        segmentation = self._rerun.SegmentationImage(np.ascontiguousarray(labels), opacity=0.5)
        self._log('camera/labels', segmentation)
        if self._taxonomy is not None:
            counts = np.bincount(labels.reshape(-1), minlength=len(self._taxonomy.classes))
            for name, count in zip(self._taxonomy.classes, counts, strict=False):
                self.figure(f'classes/{name}', 100 * int(count) / labels.size)
        if confidence is not None:
            self.confidence(confidence)

    def confidence(self, confidence: NDArray[np.uint8]) -> None:
        """Log confidence, (H, W) uint8, and its mean in percent."""
        self._log('confidence', self._rerun.Image(np.ascontiguousarray(confidence), 'L'))
        mean = float(confidence.mean()) / 2.55
        self.figure('figures/confidence', mean)
        pairs = [*self._confidences, (mean, self.source, self._moment)]
        self._confidences = sorted(pairs, key=lambda pair: pair[0])[:WORST]

    def figure(self, name: str, value: float) -> None:
        """Log a figure; those of one name are a curve."""
        self._log(name, self._rerun.Scalars(value))

    def points(self, xyz: NDArray[np.float32], labels: NDArray[Any]) -> None:
        """Log labelled points, (N, 3) in metres."""
        self._log('points', self._rerun.Points3D(xyz, class_ids=labels))

    def _log(self, name: str, value: Any, *, static: bool = False) -> None:
        # as a list, in which a space or a stroke of a name stands for itself
        parts = [part for part in (self.source, *name.split('/', 1)) if part]
        self._recording.log(parts or '/', value, static=static)

    def _set_time(self, moment: dict[str, dict[str, Any]]) -> None:
        self._recording.reset_time()
        for timeline, value in moment.items():
            self._recording.set_time(timeline, **value)


def _blueprint(sources: Sequence[str]) -> Any:
    from rerun import blueprint as layout
    from rerun import new_entity_path

    tabs = []
    for name in dict.fromkeys(sources):
        root = f'/{new_entity_path([name])}' if name else ''
        curves = layout.Vertical(
            layout.TimeSeriesView(origin=f'{root}/classes', name='classes, % of the image'),
            layout.TimeSeriesView(
                origin=f'{root}/figures', name='confidence and familiarity in %, latency'
            ),
            layout.TextLogView(origin=f'{root}/worst', name='least confident'),
        )
        images = layout.Vertical(
            layout.Spatial2DView(origin=f'{root}/camera', name='camera and labels'),
            layout.Tabs(
                layout.Spatial2DView(origin=f'{root}/confidence', name='confidence'),
                layout.Spatial3DView(origin=f'{root}/points', name='points'),
            ),
        )
        tabs.append(layout.Horizontal(images, curves, name=name or None))
    return layout.Blueprint(*tabs)  # of several, tabs
