"""Log images, labels and figures over time to the viewer of Rerun, or to a file for it (``.rrd``)."""

from __future__ import annotations

import os
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
    """Logs to the file ``save`` or the viewer, at the moment of the last :meth:`at`."""

    def __init__(self, save: Path | None = None) -> None:
        try:
            import rerun
        except ImportError as error:
            msg = "the viewer is Rerun, which is not installed: pip install 'lemore_ros[view]'"
            raise ViewerError(msg) from error
        self._rerun = rerun
        self._recording = rerun.RecordingStream('lemore')
        self._taxonomy: Taxonomy | None = None
        self._moment: dict[str, dict[str, Any]] = {}
        self._confidences: list[tuple[float, dict[str, dict[str, Any]]]] = []
        with refusing(f'Rerun cannot open {save or "its viewer"}', ViewerError):
            if save is not None:
                save.parent.mkdir(parents=True, exist_ok=True)
                self._recording.save(save)
            else:
                # the viewer inherits it, and sends no usage data from such a machine
                os.environ['CI'] = 'true'
                self._recording.spawn()
        self._recording.send_blueprint(_blueprint())

    def __exit__(self, kind: object, *_: object) -> None:
        for mean, moment in self._confidences if kind is None else ():
            self._set_time(moment)
            text = f'mean confidence {mean:.1f} %'
            self._recording.log('worst', self._rerun.TextLog(text, level='WARN'))
        self._recording.flush()
        self._recording.disconnect()

    def describe(self, taxonomy: Taxonomy) -> None:
        """Log the names and colours of the classes."""
        self._taxonomy = taxonomy
        pairs = list(zip(taxonomy.classes, taxonomy.colors, strict=True))
        rows = [(label, *pair) for label, pair in enumerate(pairs)]
        self._recording.log('/', self._rerun.AnnotationContext(rows), static=True)
        for name, color in pairs:
            line = self._rerun.SeriesLines(colors=[color], names=[name])
            self._recording.log(f'classes/{name}', line, static=True)

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
        self._recording.log('camera/image', encoded)

    def labels(self, labels: Labels, confidence: NDArray[np.uint8] | None = None) -> None:
        """Log labels, the share of each class, and their confidence, all (H, W)."""
        segmentation = self._rerun.SegmentationImage(np.ascontiguousarray(labels), opacity=0.5)
        self._recording.log('camera/labels', segmentation)
        if self._taxonomy is not None:
            counts = np.bincount(labels.reshape(-1), minlength=len(self._taxonomy.classes))
            for name, count in zip(self._taxonomy.classes, counts, strict=False):
                self.figure(f'classes/{name}', 100 * int(count) / labels.size)
        if confidence is not None:
            self.confidence(confidence)

    def confidence(self, confidence: NDArray[np.uint8]) -> None:
        """Log confidence, (H, W) uint8, and its mean in percent."""
        self._recording.log('confidence', self._rerun.Image(np.ascontiguousarray(confidence), 'L'))
        mean = float(confidence.mean()) / 2.55
        self.figure('figures/confidence', mean)
        pairs = [*self._confidences, (mean, self._moment)]
        self._confidences = sorted(pairs, key=lambda pair: pair[0])[:WORST]

    def figure(self, name: str, value: float) -> None:
        """Log a figure; those of one name are a curve."""
        self._recording.log(name, self._rerun.Scalars(value))

    def points(self, xyz: NDArray[np.float32], labels: NDArray[Any]) -> None:
        """Log labelled points, (N, 3) in metres."""
        self._recording.log('points', self._rerun.Points3D(xyz, class_ids=labels))

    def _set_time(self, moment: dict[str, dict[str, Any]]) -> None:
        self._recording.reset_time()
        for timeline, value in moment.items():
            self._recording.set_time(timeline, **value)


def _blueprint() -> Any:
    import rerun.blueprint as layout

    curves = layout.Vertical(
        layout.TimeSeriesView(origin='classes', name='classes, % of the image'),
        layout.TimeSeriesView(origin='figures', name='confidence and familiarity in %, latency'),
        layout.TextLogView(origin='worst', name='least confident'),
    )
    images = layout.Vertical(
        layout.Spatial2DView(origin='camera', name='camera and labels'),
        layout.Tabs(
            layout.Spatial2DView(origin='confidence', name='confidence'),
            layout.Spatial3DView(origin='points', name='points'),
        ),
    )
    return layout.Blueprint(layout.Horizontal(images, curves))
