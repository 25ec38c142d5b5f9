from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from lemore_core.common.errors import LemoreError
from lemore_core.export.export import export_onnx
from lemore_core.images.image import Image, PixelError
from lemore_core.inference.backend import DeviceMemoryError
from lemore_core.inference.cpu.pipeline import CpuPipeline
from lemore_core.segmentation import OutputSize, Refinement
from lemore_core.segmenter import Segmenter, SegmenterError, resolve_checkpoint
from lemore_core.taxonomy import Taxonomy, load_groups, load_taxonomy
from test.waiting import wait_for

Frames = list[NDArray[np.uint8]]


@pytest.mark.parametrize('size', [(96, 128), (540, 960), (120, 160), (33, 500), (1, 1), (700, 31)])
def test_labels_have_the_size_of_the_image(segmenter: Segmenter, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    result = segmenter.segment(image, 'rgb8')
    assert result.labels.shape == result.confidence.shape == size
    assert result.labels.dtype == result.confidence.dtype == np.uint8
    assert int(result.labels.max()) < 11
    assert result.timings.total_ms > result.timings.steps['network'] > 0


def test_every_encoding_of_an_image_gives_the_same_labels(
    segmenter: Segmenter, clip_frames: Frames
) -> None:
    # read-only memory with padded rows, as drivers hand it out
    bgr = np.pad(clip_frames[0], ((0, 0), (0, 40), (0, 0)), constant_values=77)[:, :960]
    bgr.flags.writeable = False
    expected = segmenter.segment(np.ascontiguousarray(bgr[..., ::-1]), 'rgb8')
    for encoding, image in {
        'bgr8': bgr,
        'bgra8': cv2.cvtColor(bgr, cv2.COLOR_BGR2BGRA),
        'rgba8': cv2.cvtColor(bgr, cv2.COLOR_BGR2RGBA),
    }.items():
        result = segmenter.segment(image, encoding)
        assert np.array_equal(result.labels, expected.labels), encoding
        assert np.array_equal(result.confidence, expected.confidence), encoding
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    three = segmenter.segment(cv2.merge([grey, grey, grey]), 'bgr8')
    assert np.array_equal(segmenter.segment(grey, 'mono8').labels, three.labels)
    assert len(np.unique(expected.labels)) > 1, 'one label everywhere would prove nothing'


@pytest.mark.parametrize('degrees', [90, 180, 270])
def test_labels_lie_on_the_image_whichever_way_it_must_be_rotated(
    segmenter: Segmenter, clip_frames: Frames, degrees: int
) -> None:
    upright = np.ascontiguousarray(clip_frames[0][:300, :500])
    taken = np.ascontiguousarray(np.rot90(upright, degrees // 90))  # counter-clockwise
    expected = segmenter.segment(upright, 'bgr8')
    result = segmenter.segment_batch([Image(taken, 'bgr8', rotation=degrees)])[0]
    assert np.array_equal(result.labels, np.rot90(expected.labels, degrees // 90))
    assert np.array_equal(result.confidence, np.rot90(expected.confidence, degrees // 90))
    sides = expected.network_size
    assert result.network_size == (sides if degrees == 180 else sides[::-1])


def test_labels_are_refined_on_their_way_out(segmenter: Segmenter, clip_frames: Frames) -> None:
    groups = load_groups('auto', segmenter.taxonomy)
    refinement = Refinement(0.5, groups, OutputSize.parse('64x32'))
    image = Image(clip_frames[0][:300, :500], 'bgr8', rotation=90)
    (plain,) = segmenter.segment_batch([image])
    (refined,) = segmenter.segment_batch([image], refinement)
    expected = refinement.apply(plain)
    assert refined.labels.shape == (32, 64)
    assert np.array_equal(refined.labels, expected.labels)
    assert np.array_equal(refined.confidence, expected.confidence)


@pytest.mark.parametrize(
    ('image', 'encoding', 'message'),
    [
        (np.zeros((4, 4, 3), np.uint8), 'yuv422', "encoding 'yuv422' is not one of rgb8"),
        (np.zeros((4, 4, 3), np.float32), 'rgb8', 'float32, it must be uint8'),
        (np.zeros((4, 4, 4), np.uint8), 'rgb8', r'shape \(4, 4, 4\), rgb8 needs 3 channels'),
        (np.zeros((4, 4), np.uint8), 'bgra8', 'bgra8 needs 4 channels'),
        (np.zeros((0, 4, 3), np.uint8), 'rgb8', 'holds no pixels'),
        (np.zeros((2, 4, 4, 3), np.uint8), 'rgb8', 'shape'),
    ],
)
def test_what_is_no_image_is_named(
    segmenter: Segmenter, image: NDArray[np.uint8], encoding: str, message: str
) -> None:
    with pytest.raises(PixelError, match=message):
        segmenter.segment(image, encoding)


@pytest.mark.parametrize('backend', ['onnxruntime', 'torch'])
def test_an_image_has_the_same_bytes_in_every_batch_and_at_every_start(
    backend: str, untrained_checkpoint: Path, clip_frames: Frames
) -> None:
    images = [Image(np.roll(clip_frames[0], 50 * i, 1), 'bgr8') for i in range(6)]
    images += [Image(clip_frames[0][..., 0], 'mono8'), Image(clip_frames[1][:, :400], 'bgr8')]
    alone = Segmenter.load(untrained_checkpoint, backend=backend, device='cpu')
    expected = [alone.segment(image.pixels, image.encoding) for image in images]
    again = Segmenter.load(untrained_checkpoint, backend=backend, device='cpu', batch=8)
    for count in range(1, 9):
        found = again.segment_batch(images[:count])
        for one, other in zip(found, expected[:count], strict=True):
            assert one.labels.tobytes() == other.labels.tobytes()
            assert one.confidence.tobytes() == other.confidence.tobytes()
    assert again.segment_batch([]) == []
    with pytest.raises(PixelError, match='bgra8 needs 4 channels'):
        again.segment_batch([images[0], Image(clip_frames[0], 'bgra8')])


def test_an_exported_file_is_loaded_as_it_says(
    untrained_checkpoint: Path, clip_frames: Frames, tmp_path: Path
) -> None:
    path = tmp_path / 'model.onnx'
    path.write_bytes(export_onnx(untrained_checkpoint, 192, 320))
    exported = Segmenter.load(path)
    assert exported.status.backend == 'onnxruntime'
    assert exported.network_size(540, 960) == (192, 320)
    assert exported.taxonomy == load_taxonomy('camvid')
    reference = Segmenter.load(untrained_checkpoint, backend='torch', network_size=(192, 320))
    labels = exported.segment(clip_frames[0], 'bgr8').labels
    assert (labels == reference.segment(clip_frames[0], 'bgr8').labels).mean() >= 0.999
    with pytest.raises(SegmenterError, match=r'exported for \(192, 320\)'):
        Segmenter.load(path, network_size=(64, 64))
    with pytest.raises(LemoreError, match=r"'torch' reads \.safetensors files"):
        Segmenter.load(path, backend='torch')


def test_another_table_of_as_many_classes_renames_them(untrained_checkpoint: Path) -> None:
    names = tuple(f'class {i}' for i in range(11))
    mine = Taxonomy('mine', names, ((9, 9, 9),) * 11)
    segmenter = Segmenter.load(untrained_checkpoint, backend='torch', taxonomy=mine)
    assert segmenter.taxonomy.classes == names


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'backend': 'caffe'}, "no backend is called 'caffe'"),
        ({'network_size': (8, 8)}, 'height is 8'),
        ({'taxonomy': load_taxonomy('cityscapes')}, 'has 11 classes, dataset .cityscapes. has 19'),
    ],
)
def test_what_cannot_be_loaded_is_named(
    untrained_checkpoint: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(LemoreError, match=message):
        Segmenter.load(untrained_checkpoint, **options)


def test_models_are_found_by_size_and_dataset() -> None:
    assert Segmenter.load('nano', backend='torch').path == resolve_checkpoint('nano')
    assert resolve_checkpoint('tiny').name == 'lemore_tiny_cityscapes.safetensors'
    assert resolve_checkpoint('tiny', 'camvid').name == 'lemore_tiny_camvid.safetensors'
    # its own names and colours
    assert resolve_checkpoint('nano', 'mine.yaml') == resolve_checkpoint('nano')
    assert resolve_checkpoint('~/mine.onnx') == Path.home() / 'mine.onnx'
    assert resolve_checkpoint('~nobody such/mine.onnx') == Path('~nobody such/mine.onnx')
    assert resolve_checkpoint('mine/best.safetensors') == Path('mine/best.safetensors')
    with pytest.raises(SegmenterError, match=r"'tiny' for dataset 'mars' is not shipped.*camvid"):
        resolve_checkpoint('tiny', 'mars')
    with pytest.raises(SegmenterError, match="no model is called 'huge'"):
        resolve_checkpoint('huge')


def test_an_image_of_pillow_is_one_and_anything_else_is_named(
    segmenter: Segmenter, clip_frames: Frames
) -> None:
    rgb = np.ascontiguousarray(clip_frames[0][..., ::-1])
    expected = segmenter.segment(rgb).labels
    assert np.array_equal(segmenter.segment(Pillow.fromarray(rgb)).labels, expected)
    with pytest.raises(PixelError, match=r'is a str, it must be a NumPy array \(H, W, 3\) uint8'):
        segmenter.segment('street.jpg')


def test_a_live_size_is_loaded_beside_the_one_that_serves(untrained_checkpoint: Path) -> None:
    segmenter = Segmenter.load(untrained_checkpoint, backend='torch', device='cpu', live=True)
    flat = np.full((50, 150), 7, np.uint8)
    first = segmenter.segment(flat, 'mono8')
    assert first.resized == 'preparing 150x50'
    assert first.network_size == segmenter.trained_size
    assert first.labels.shape == (50, 150)
    wait_for(lambda: not segmenter.segment(flat, 'mono8').resized)
    assert segmenter.segment(flat, 'mono8').network_size == segmenter.network_size(50, 150)
    segmenter.close()


def test_the_cpu_serves_once_the_gpu_is_full(
    untrained_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = Segmenter.load(untrained_checkpoint, backend='torch', device='cpu')
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    expected = segmenter.segment(image).labels

    def full(*_: object) -> None:
        msg = 'no memory left for one image'
        raise DeviceMemoryError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(CpuPipeline, 'segment', full)
        with pytest.raises(DeviceMemoryError):
            segmenter.segment(image)
    assert np.mean(segmenter.segment(image).labels == expected) > 0.99
    assert segmenter.status.degraded == 'the CPU because no memory left for one image'
    segmenter.close()
