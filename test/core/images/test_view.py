"""What is logged for Rerun, read back from its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lemore_core.images.image import Image
from lemore_core.images.view import View, ViewerError
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import load_taxonomy

CAMVID = load_taxonomy('camvid')


@pytest.fixture
def rows() -> Any:
    """Return a function that reads the columns of a file by entity, each a list of rows."""
    chunk = pytest.importorskip('rerun.chunk', reason='pip install rerun-sdk')

    def read(path: Path) -> dict[str, dict[str, list[Any]]]:
        found: dict[str, dict[str, list[Any]]] = {}
        for part in chunk.RrdReader(path).stream():
            columns = found.setdefault(part.entity_path, {})
            batch = part.to_record_batch()
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                # nanoseconds are more than Python's own type for times holds
                values = column.cast('int64') if 'timestamp' in str(column.type) else column
                columns.setdefault(name, []).extend(values.to_pylist())
        return found

    return read


def test_labels_are_those_that_went_in_and_have_their_names(tmp_path: Path, rows: Any) -> None:
    labels = np.random.default_rng(0).integers(0, 11, (6, 8)).astype(np.uint8)
    with View(tmp_path / 'drive.rrd') as viewer:
        viewer.describe(CAMVID)
        for frame, confidence in enumerate([250, 20, 128]):
            viewer.at(frame=frame, stamp_ns=1_700_000_000_000_000_000 + frame)
            viewer.image(Image(np.full((6, 8, 3), 200, np.uint8), 'bgr8'))
            viewer.labels(labels, np.full((6, 8), confidence, np.uint8))
            viewer.points(np.ones((2, 3), np.float32), np.array([1, 2], np.uint16))
    found = rows(tmp_path / 'drive.rrd')
    assert found['/camera/labels']['frame'] == [0, 1, 2]
    (first, *_) = found['/camera/labels']['SegmentationImage:buffer']
    assert bytes(first[0]) == labels.tobytes()
    (context,) = found['/']['AnnotationContext:context']
    names = [entry['class_description']['info']['label'] for entry in context[0]]
    assert names == list(CAMVID.classes)
    shares = [found[f'/classes/{name}']['Scalars:scalars'][0][0] for name in CAMVID.classes]
    assert shares == pytest.approx(100 * np.bincount(labels.ravel(), minlength=11) / labels.size)
    assert len(found['/points']['frame']) == len(found['/camera/image']['frame']) == 3
    # least confident first
    assert found['/worst']['frame'] == [1, 2, 0]
    assert 'mean confidence 7.8 %' in str(found['/worst']['TextLog:text'][0])


def test_a_folder_is_segmented_into_a_file(
    tmp_path: Path,
    rows: Any,
    clip_frames: list[NDArray[np.uint8]],
    untrained_checkpoint: Path,
    lemore: Any,
) -> None:
    (tmp_path / 'street').mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / 'street' / f'{index}.png'), clip_frames[index][:96, :128])
    output = tmp_path / 'out' / 'drive.rrd'
    model = ['--model', str(untrained_checkpoint), '--backend', 'torch', '--device', 'cpu']
    arguments = ['view', str(tmp_path / 'street'), '--save', str(output), '--frames', '2', *model]
    done = lemore(*arguments)
    assert done[:2] == (0, f'labels of the model untrained (camvid)\n2 images: {output}\n')
    found = rows(output)
    segmenter = Segmenter.load(untrained_checkpoint, backend='torch', device='cpu')
    for index, buffer in enumerate(found['/camera/labels']['SegmentationImage:buffer']):
        expected = segmenter.segment(np.ascontiguousarray(clip_frames[index][:96, :128]), 'bgr8')
        assert bytes(buffer[0]) == expected.labels.tobytes()
    assert min(value[0] for value in found['/figures/latency_ms']['Scalars:scalars']) > 0


def test_drives_are_logged_apart(
    tmp_path: Path,
    rows: Any,
    clip_frames: list[NDArray[np.uint8]],
    untrained_checkpoint: Path,
    lemore: Any,
) -> None:
    for name in ('day 1', 'night'):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / '0.png'), clip_frames[0][:96, :128])
    inputs = [tmp_path / name for name in ('day 1', 'night')]
    output = tmp_path / 'both.rrd'
    model = ['--model', str(untrained_checkpoint), '--backend', 'torch', '--device', 'cpu']
    assert lemore('view', *inputs, '--save', output, *model).status == 0
    found = rows(output)
    for frame, root in enumerate(('/day-1', '/night')):
        assert found[root]['AnnotationContext:context']
        assert found[f'{root}/camera/image']['frame'] == [frame]
        assert found[f'{root}/classes/road']['frame'] == [frame]
        assert found[f'{root}/worst']['frame'] == [frame]
    assert '/camera/image' not in found


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    pytest.importorskip('rerun', reason='pip install rerun-sdk')
    with pytest.raises(ViewerError, match='Rerun cannot open '):
        View(tmp_path)
