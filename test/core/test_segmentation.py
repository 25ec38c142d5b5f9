from __future__ import annotations

import numpy as np
import pytest

from lemore_core.segmentation import (
    OutputSize,
    Refinement,
    RefinementError,
    Segmentation,
    Timings,
    resized,
)
from lemore_core.taxonomy import ClassGroups, Taxonomy
from lemore_core.taxonomy.groups import Group

RED = (255, 0, 0)
NETWORK = (2, 2)


def result(labels: object, confidence: object, dtype: type = np.uint8) -> Segmentation:
    return Segmentation(
        np.array(labels, dtype), np.array(confidence, np.uint8), NETWORK, Timings(1.0)
    )


def groups_of(many: int) -> ClassGroups:
    """Return even and odd classes as groups, class 0 ignored."""
    names = tuple(f'c{i}' for i in range(many))
    table = Taxonomy('many', names, (RED,) * many)
    pair = (Group('even', RED, names[2::2]), Group('odd', RED, names[1::2]))
    return ClassGroups('parity', table, pair, names[:1])


def test_nothing_asked_is_nothing_done() -> None:
    before = result([[0, 1], [2, 255]], [[0, 0], [255, 3]])
    assert Refinement().apply(before) is before
    for size in ('2x2', 'network'):
        assert Refinement(output_size=OutputSize.parse(size)).apply(before) is before


def test_every_step_of_confidence_is_a_threshold_of_its_own() -> None:
    before = result([[7] * 256], [range(256)])
    for step in range(256):
        after = Refinement(min_confidence=step / 255).apply(before)
        assert after.labels.dtype == np.uint8
        assert after.labels.tolist() == [[255] * step + [7] * (256 - step)]
        assert after.confidence is before.confidence
        assert after.timings is before.timings
    assert before.labels.tolist() == [[7] * 256]
    just_above = Refinement(min_confidence=0.4001).apply(before)  # 0.4 is 102 of 255
    assert just_above.labels.tolist() == [[255] * 103 + [7] * 153]


def test_classes_become_groups_and_doubt_stays() -> None:
    before = result([[0, 255, 256, 299, 65535]], [[255, 200, 10, 255, 255]], np.uint16)
    after = Refinement(min_confidence=0.5).apply(before)
    assert after.labels.dtype == np.uint16
    assert after.labels.tolist() == [[0, 255, 65535, 299, 65535]]
    after = Refinement(min_confidence=0.5, groups=groups_of(300)).apply(before)
    assert after.labels.dtype == np.uint8
    assert after.labels.tolist() == [[255, 1, 255, 1, 255]]


def test_a_smaller_size_takes_pixels_and_makes_none() -> None:
    labels = np.arange(300, 316).reshape(4, 4)
    before = result(labels, labels - 300, np.uint16)
    after = Refinement(output_size=OutputSize.parse('network')).apply(before)
    assert after.labels.tolist() == [[300, 302], [308, 310]]
    assert after.confidence.tolist() == [[0, 2], [8, 10]]
    wide = Refinement(output_size=OutputSize.parse('4x1')).apply(before)
    assert wide.labels.tolist() == [[300, 301, 302, 303]]


def test_a_larger_size_repeats_pixels() -> None:
    before = result([[1, 2]], [[10, 250]])
    after = Refinement(0.5, groups_of(5), OutputSize.parse('4x2')).apply(before)
    assert after.labels.tolist() == [[255, 255, 0, 0]] * 2
    assert after.confidence.tolist() == [[10, 10, 250, 250]] * 2


def test_colors_are_resized_as_labels_are() -> None:
    labels = np.arange(35, dtype=np.uint8).reshape(5, 7)
    colors = np.dstack([labels, labels, labels])
    assert np.array_equal(resized(colors, (3, 4))[..., 1], resized(labels, (3, 4)))


def test_sizes_are_width_times_height() -> None:
    assert OutputSize.parse('640x480').of((1, 2), (3, 4)) == (480, 640)
    assert OutputSize.parse('camera').of((1, 2), (3, 4)) == (1, 2)
    assert OutputSize.parse('network').of((1, 2), (3, 4)) == (3, 4)


@pytest.mark.parametrize(
    'text', ['', 'Camera', '640', '640x', 'x480', '640X480', ' 640x480', '0x480', '640x0',
             '8193x480', '640x480x3', '-1x480', '64.0x48', '٣x٣', '640x480\n'],
)  # fmt: skip
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(RefinementError, match='allowed: camera, network, or WIDTHxHEIGHT') as error:
        OutputSize.parse(text)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize('value', [-0.1, 1.01, float('nan')])
def test_other_confidences_are_refused(value: float) -> None:
    with pytest.raises(RefinementError, match=r'min_confidence is .*, allowed: 0\.0 to'):
        Refinement(min_confidence=value)
