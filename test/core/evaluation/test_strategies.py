from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lemore_core.evaluation.strategies import (
    AveragedViews,
    ScalesError,
    SingleScale,
    Views,
    predictor_for,
    scaled_size,
    upsample,
)
from lemore_core.export.export import export_onnx
from lemore_core.segmenter import Segmenter, SegmenterError
from lemore_core.taxonomy import ClassGroups, Taxonomy
from lemore_core.taxonomy.groups import Group

Image = NDArray[np.uint8]


class TwoClasses:
    """A segmenter that reads red as the probability of class 1, and sees none at half the size."""

    taxonomy = Taxonomy('two', ('a', 'b'), ((0, 0, 0), (255, 255, 255)))

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def keep_sizes(self, number: int) -> None:
        pass

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def logits(self, image: Image, encoding: str, *, network_size: Any) -> NDArray[np.float32]:
        assert encoding == 'rgb8'
        self.seen.append(network_size)
        share = image[..., 0].astype(np.float32) / 255 * (network_size == image.shape[:2])
        share = np.clip(share, 1e-6, 1 - 1e-6)
        return np.stack([np.log(1 - share), np.log(share)], -1)


@pytest.fixture(scope='module')
def image(clip_frames: list[Image]) -> Image:
    return np.ascontiguousarray(clip_frames[0][::2, ::2, ::-1])


def test_one_view_gives_the_labels_of_single_scale(segmenter: Segmenter, image: Image) -> None:
    expected = SingleScale(segmenter).predict(image)
    labels, confidence = AveragedViews(segmenter, Views()).predict(image)
    assert labels.dtype == expected.labels.dtype
    assert confidence.shape == image.shape[:2]
    # a tie may round to either side, as decode's docstring says
    assert np.count_nonzero(labels != expected.labels) <= 2
    assert len(np.unique(labels)) > 1


def test_with_flip_a_mirrored_image_has_mirrored_labels(segmenter: Segmenter, image: Image) -> None:
    predictor = predictor_for(segmenter, Views(flip=True))
    assert isinstance(predictor_for(segmenter, Views()), SingleScale)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    there = predictor.predict(image)
    back = predictor.predict(mirrored)
    assert np.array_equal(back.labels[:, ::-1], there.labels)
    assert np.array_equal(back.confidence[:, ::-1], there.confidence)
    plain = SingleScale(segmenter)
    assert not np.array_equal(plain.predict(mirrored).labels[:, ::-1], plain.predict(image).labels)


def test_scales_average_probabilities_not_logits() -> None:
    fake, red = TwoClasses(), np.full((64, 96, 3), 204, np.uint8)
    views = Views(scales=(0.5, 1.0))
    probabilities = AveragedViews(fake, views).probabilities(red)
    assert fake.seen == [(32, 48), (64, 96)]
    # in groups of the classes, probabilities are summed; ignored ones are left out
    groups = (Group('red', (1, 1, 1), ('b',)), Group('none', (2, 2, 2), ()))
    one = ClassGroups('one', TwoClasses.taxonomy, groups, ('a',))
    grouped = AveragedViews(fake, views, one)
    assert grouped.taxonomy.classes == ('red', 'none')
    np.testing.assert_allclose(grouped.probabilities(red)[0, 0], (0.4, 0), atol=1e-5)
    # 0 at half the size, 0.8 at the full one
    np.testing.assert_allclose(probabilities[..., 1], 0.4, atol=1e-5)
    labels, confidence = AveragedViews(fake, views).predict(red)
    assert not labels.any()
    assert set(np.unique(confidence)) == {153}


def test_sizes_are_scaled_in_whole_logits() -> None:
    assert scaled_size((361, 481), 1.0) == (361, 481)
    assert scaled_size((360, 480), 0.5) == (176, 240)
    assert scaled_size((360, 480), 1.75) == (632, 840)
    assert scaled_size((64, 64), 0.1) == (32, 32)


def test_upsampling_is_that_of_torch() -> None:
    torch = pytest.importorskip('torch')
    logits = np.random.default_rng(0).normal(size=(7, 9, 600)).astype(np.float32)
    planes = torch.from_numpy(logits).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(planes, size=(50, 70), mode='bilinear')
    found = torch.from_numpy(upsample(logits, 50, 70))
    torch.testing.assert_close(found, expected[0].permute(1, 2, 0), rtol=1e-7, atol=1e-5)


def test_there_is_a_view() -> None:
    with pytest.raises(ScalesError, match='one or more'):
        Views(())


def test_sizes_that_the_model_cannot_take_are_refused(
    untrained_checkpoint: Path, image: Image, tmp_path: Path
) -> None:
    path = tmp_path / 'model.onnx'
    path.write_bytes(export_onnx(untrained_checkpoint, 64, 96))
    exported = Segmenter.load(path)
    assert exported.logits(image).shape == (8, 12, 11)
    with pytest.raises(SegmenterError, match=r'exported for \(64, 96\)'):
        AveragedViews(exported, Views(scales=(0.5,))).predict(image)
