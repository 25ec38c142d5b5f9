from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lemore_core.common.errors import LemoreError
from lemore_core.taxonomy import load_taxonomy
from lemore_ros.bags.evaluation.evaluate import (
    UNEQUAL,
    DifferenceMap,
    DriveEvaluation,
    evaluate_drive,
)
from lemore_ros.bags.evaluation.image_sequence import ImageSequence
from lemore_ros.bags.evaluation.label_sources import WITHOUT_LABELS, RecordedLabels
from lemore_ros.bags.evaluation.report import worst_frames
from test.bags.evaluation.known_drives import (
    BUILDING,
    CAMERA,
    CAR,
    HEIGHT,
    NODE,
    ROAD,
    START_NS,
    STEP_NS,
    TRUTH,
    WIDTH,
    Message,
    drive_messages,
    write_messages,
)

CAMVID = load_taxonomy('camvid')
TOLERANCE = 5_000_000
LABELS = f'{NODE}/labels'


def compared(
    first: Path, second: Path, topics: tuple[str, str] = (LABELS, LABELS)
) -> DriveEvaluation:
    sources = [
        RecordedLabels(bag, topic, 'camvid', TOLERANCE)
        for bag, topic in zip((first, second), topics, strict=True)
    ]
    return evaluate_drive(ImageSequence(first, masks=topics), sources[1], sources[0])


def test_two_topics_of_one_bag(drive: Path) -> None:
    comparison = compared(drive, drive, (LABELS, TRUTH))
    values = comparison.to_dict()
    assert values['frames'] == 4
    assert values['agreement'] == 0.75
    assert (values['iou']['road'], values['iou']['car'], values['iou']['building']) == (1, 0.5, 0)
    assert values['mean_iou'] == 0.5
    quarter = 4 * HEIGHT * WIDTH // 4
    counts = comparison.scores.matrix.counts
    assert counts[ROAD, ROAD] == 2 * quarter
    assert counts[CAR, CAR] == counts[BUILDING, CAR] == quarter
    assert values['over_time']['agreement'] == [0.75] * 4
    # they differ in the upper right quarter and nowhere else
    where = np.array(values['differences'])
    assert (where[: len(where) // 2, where.shape[1] // 2 :] == 1).all()
    assert where.sum() == where.size / 4


def test_unlabelled_is_a_difference_and_no_confusion(tmp_path: Path) -> None:
    messages = []
    for i in range(2):
        labels = np.full((HEIGHT, WIDTH), ROAD, np.uint8)
        some = labels.copy()
        some[: HEIGHT // 4] = 255
        for topic, pixels in ((CAMERA, labels), ('/a/labels', labels), ('/b/labels', some)):
            messages.append(Message(topic, START_NS + i * STEP_NS, pixels))
    bag = write_messages(tmp_path / 'drive', messages)
    comparison = compared(bag, bag, ('/a/labels', '/b/labels'))
    assert comparison.to_dict()['agreement'] == 0.75
    assert comparison.scores.matrix.mean_iou == 1


def test_images_that_one_run_lacks_are_counted(drive: Path, tmp_path: Path) -> None:
    shorter = write_messages(tmp_path / 'shorter', drive_messages([0.5] * 3))
    comparison = compared(drive, shorter)
    assert comparison.frames == 3
    assert comparison.error_counts == {UNEQUAL: 1, WITHOUT_LABELS: 1}


def test_the_frames_that_differ_most_are_kept(tmp_path: Path) -> None:
    drive = write_messages(tmp_path / 'drive', drive_messages([0.25, 0.0, 0.0, 0.0, 0.0, 1.0]))
    worst = worst_frames(2, CAMVID, ('said', 'true'))
    sides = [RecordedLabels(drive, topic, 'camvid', TOLERANCE) for topic in (LABELS, TRUTH)]
    evaluate_drive(ImageSequence(drive), sides[1], sides[0], worst)
    assert [p.name.split()[0] for p in worst.images] == ['0.50', '0.00']
    image = worst.images[0]
    assert image.figures == {'agreement': '50.0 %'}
    assert list(image.panes[1].layers) == ['said', 'true']


def test_other_classes_cannot_be_compared(drive: Path) -> None:
    first = RecordedLabels(drive, LABELS, 'camvid', TOLERANCE)
    second = RecordedLabels(drive, LABELS, 'cityscapes', TOLERANCE)
    with pytest.raises(LemoreError, match='only labels of the same classes'):
        evaluate_drive(ImageSequence(drive), second, first)


def test_runs_of_other_drives_are_refused(drive: Path, tmp_path: Path) -> None:
    late = [Message(LABELS, START_NS + 10**12, np.zeros((HEIGHT, WIDTH), np.uint8))]
    with pytest.raises(LemoreError, match='of both labels of'):
        compared(drive, write_messages(tmp_path / 'late', late))


def test_a_map_takes_images_of_several_sizes() -> None:
    where = DifferenceMap()
    assert where.shares.tolist() == [[0]]
    for size in ((480, 640), (48, 64)):
        differs = np.zeros(size, np.bool_)
        differs[: size[0] // 2] = True
        where.add(differs)
    assert where.shares.shape == (72, 96)
    assert where.shares[:36].min() == pytest.approx(1)
    assert where.shares[36:].max() == 0
