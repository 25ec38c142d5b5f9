"""Masks go to annotation tools and come back bit for bit; the tools' own libraries judge."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lemore_core.common.errors import LemoreError
from lemore_core.data import annotation
from lemore_core.data.annotation import KINDS, import_annotations, write_annotations, write_classes
from lemore_core.data.datasets import open_dataset
from lemore_core.images.files import write_labels
from lemore_core.taxonomy import Labels, Taxonomy

NAMES = ('front-left_v1.5_17_000000001', 'rear_17_000000001', 'rear_18_000000001')
# two of one colour, one of the background's
TABLE = Taxonomy('lot', ('kerb', 'traffic light', 'car'), ((0, 0, 0), (9, 9, 9), (9, 9, 9)))
# where each export is, and the package that writes and reads it
EXPORTS = {
    'cvat': ('cvat.zip', 'datumaro'),
    'coco': ('coco.json', 'datumaro'),
    'labelme': ('images/train', ''),
    'label-studio': ('export.json', 'label_studio_sdk.converter.brush'),
}


def labels_of(name: str) -> Labels:
    """Give blocks, single pixels and unlabelled pixels."""
    random = np.random.default_rng(len(name) + int(name[-12]))
    coarse = random.integers(0, 3, (6, 8), np.uint8)
    labels = cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_NEAREST)
    labels[::7, ::5] = 2 - labels[::7, ::5]
    labels[10:20, 30:40] = 255
    return np.asarray(labels, np.uint8)


@pytest.fixture
def picked(tmp_path: Path) -> Path:
    root = tmp_path / 'picked'
    for name in NAMES:
        image = root / 'images' / 'train' / f'{name}.png'
        image.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(image), np.zeros((48, 64, 3), np.uint8))
        write_labels(root / 'masks' / 'train' / f'{name}.png', labels_of(name), TABLE.of_labels)
    write_classes(root, TABLE)
    return root


def export(picked: Path, kind: str) -> Path:
    """Write the masks, and answer Label Studio's tasks with its predictions."""
    write_annotations(kind, picked)
    if kind == 'label-studio':
        tasks = json.loads((picked / 'label_studio.json').read_text())
        for task in tasks:
            task['annotations'] = task.pop('predictions')
            name = task['data']['image'].rpartition('/')[2]
            task['data']['image'] = f'/data/upload/1/0af3-{name}'  # as it renames uploads
        (picked / 'export.json').write_text(json.dumps(tasks))
    return picked / EXPORTS[kind][0]


@pytest.mark.parametrize('kind', KINDS)
def test_masks_come_back_bit_for_bit(picked: Path, tmp_path: Path, kind: str, lemore: Any) -> None:
    if EXPORTS[kind][1]:
        pytest.importorskip(EXPORTS[kind][1])
    found = export(picked, kind)
    back = tmp_path / 'back'
    assert lemore('data', 'import', found, '--data', picked, '-o', back).status == 0
    for folder in ('images', 'masks'):
        for name in NAMES:
            path = f'{folder}/train/{name}.png'
            assert (back / path).read_bytes() == (picked / path).read_bytes()
    assert (back / 'classes.yaml').read_bytes() == (picked / 'classes.yaml').read_bytes()
    with pytest.raises(LemoreError, match='back exists already'):
        import_annotations(found, picked, back)


def test_labelme_draws_the_same(picked: Path) -> None:
    read = pytest.importorskip('labelme._label_file').read_label_file
    shapes_to_label = pytest.importorskip('labelme.utils').shapes_to_label
    export(picked, 'labelme')
    values = {name: number for number, name in enumerate(TABLE.classes, 1)}
    for name in NAMES:
        file = read(str(picked / 'images' / 'train' / f'{name}.json'))
        drawn = shapes_to_label((48, 64), file.shapes, values)[0] - 1
        assert np.array_equal(drawn.astype(np.uint8), labels_of(name))


def polygon(kind: str, picked: Path) -> Path:
    """Answer one image by a triangle of cars, as the tools do."""
    points, (name, *_) = [[2, 3], [40, 5], [20, 30]], NAMES
    if kind == 'labelme':
        shape = {'label': 'car', 'points': points}  # older versions have only polygons
        values: Any = {'shapes': [shape], 'imageHeight': 48, 'imageWidth': 64}
        values['imagePath'] = f'..\\images\\{name}.png'
    elif kind == 'coco':
        pytest.importorskip('datumaro')
        mark = {'id': 1, 'image_id': 7, 'category_id': 3, 'iscrowd': 0, 'area': 1, 'bbox': [0] * 4}
        mark['segmentation'] = [[number for point in points for number in point]]
        image = {'id': 7, 'file_name': f'train/{name}.png', 'height': 48, 'width': 64}
        values = {'images': [image], 'annotations': [mark]}
        values['categories'] = [{'id': 3, 'name': 'car'}]
    else:
        values = [{'data': {'image': f'{name}.png'}, 'annotations': [{'result': []}]}]
    path = picked.parent / 'polygons' / 'export.json'
    path.parent.mkdir()
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize('kind', ['labelme', 'coco'])
def test_polygons_are_drawn_and_missing_images_are_said(
    picked: Path, tmp_path: Path, lemore: Any, kind: str
) -> None:
    found, back = polygon(kind, picked), tmp_path / 'back'
    shutil.rmtree(picked / 'masks')  # images of one's own have none before
    done = lemore('data', 'import', found, '--data', picked, '-o', back)
    assert done.fails('2 images of', status=3)
    assert '1 image with corrected masks' in done.out
    (sample,) = open_dataset('folder', back).samples('train')
    labels, expected = sample.read_mask(), np.full((48, 64), 255, np.uint8)
    corners = np.array([[2, 3], [40, 5], [20, 30]], np.int32)
    cv2.fillPoly(expected, [corners], 2)
    assert (labels != expected).mean() < 0.01
    assert all(labels[y, x] == 2 for x, y in corners)


def test_rectangles_of_labelme_are_filled(picked: Path, tmp_path: Path) -> None:
    found = polygon('labelme', picked)
    values = json.loads(found.read_text())
    # drawn from the right to the left
    values['shapes'][0].update(shape_type='rectangle', points=[[40.2, 5], [2, 30]])
    found.write_text(json.dumps(values))
    import_annotations(found, picked, tmp_path / 'back')
    (sample,) = open_dataset('folder', tmp_path / 'back').samples('train')
    expected = np.full((48, 64), 255, np.uint8)
    expected[5:31, 2:41] = 2
    assert np.array_equal(sample.read_mask(), expected)


Change = Callable[[Any], Any]


def huge(values: Any) -> None:
    """Claim gigabytes."""
    values['images'][0].update(height=60000, width=60000)
    mask = {'size': [60000, 60000], 'counts': [0, 3600000000]}
    values['annotations'][0].update(segmentation=mask, iscrowd=1)


@pytest.mark.parametrize(
    ('kind', 'change', 'message'),
    [
        ('labelme', lambda v: v['shapes'][0].update(label='kerbs'), "a mark is called 'kerbs'"),
        ('labelme', lambda v: v['shapes'][0].update(label='x'), r'_000000001\.png: a mark'),
        (
            'labelme',
            lambda v: v['shapes'][0].update(shape_type='circle'),
            r'001\.png: a mark .* is a circle: draw pol',
        ),
        ('labelme', lambda v: v.update(imageWidth=32), r'a mask of \(48, 32\) for an image of'),
        ('labelme', lambda v: v.update(imagePath='other.png'), 'no image of the name other.png'),
        ('labelme', lambda v: v['shapes'][0].pop('points'), "version that is read .KeyError: 'poi"),
        ('labelme', lambda v: v.clear(), 'no export of a kind and version'),
        ('coco', lambda v: v.pop('categories'), 'no export of a kind and version'),
        ('coco', huge, r'a mask of \(60000, 60000\)'),
        ('label-studio', lambda v: v[0].update(completions=v[0].pop('annotations')), 'KeyError'),
        ('label-studio', lambda v: v[0].update(annotations=[]), 'were the tasks answered'),
    ],
)
def test_another_version_is_refused_in_one_line(
    picked: Path, tmp_path: Path, kind: str, change: Change, message: str
) -> None:
    path = polygon(kind, picked)
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(LemoreError, match=message) as caught:
        import_annotations(path, picked, tmp_path / 'back')
    assert '\n' not in str(caught.value)


def test_what_is_no_export_is_refused(
    picked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, torn, bomb = (tmp_path / name for name in ('empty', 'torn.zip', 'bomb.zip'))
    empty.mkdir()
    (empty / 'annotations.xml').write_text('<annotations/>')  # CVAT for images
    torn.write_bytes(b'PK\3\4')
    with zipfile.ZipFile(bomb, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('export.json', bytes(100))
    monkeypatch.setattr(annotation, 'MOST_BYTES', 99)
    for path, message in (
        (empty, 'has no mask of an image'),
        (torn, 'torn.zip is no export'),
        (bomb, 'bomb.zip is no export .*it holds more than 99 bytes'),
        (tmp_path / 'none.json', 'none.json'),
    ):
        with pytest.raises(LemoreError, match=message):
            import_annotations(path, picked, tmp_path / 'back')
