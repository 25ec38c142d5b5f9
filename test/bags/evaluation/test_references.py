from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
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
from lemore_ros.bags.evaluation.label_sources import (
    UNREADABLE_LABELS,
    WITHOUT_LABELS,
    GroundTruth,
    RecordedLabels,
)
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
    true_labels,
    write_messages,
)

CAMVID = load_taxonomy('camvid')
TOLERANCE = 5_000_000
LABELS = f'{NODE}/labels'
STAMPS = [START_NS + i * STEP_NS for i in range(4)]


def compared(
    first: Path, second: Path, topics: tuple[str, str] = (LABELS, LABELS)
) -> DriveEvaluation:
    reference = RecordedLabels(first, topics[0], 'camvid', TOLERANCE)
    labels = RecordedLabels(second, topics[1], 'camvid', TOLERANCE)
    return evaluate_drive(ImageSequence(first, masks=topics), labels, reference)


def write_still(path: Path, pixels: dict[str, np.ndarray]) -> Path:
    """Write a drive that repeats one image of each topic."""
    return write_messages(path, [Message(t, time, p) for time in STAMPS for t, p in pixels.items()])


def test_two_topics_of_one_bag(drive: Path) -> None:
    comparison = compared(drive, drive, (LABELS, TRUTH))
    values = comparison.to_dict()
    assert values['frames'] == 4
    assert values['agreement'] == 0.75
    assert [values['iou'][name] for name in ('road', 'car', 'building')] == [1, 0.5, 0]
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
    labels = np.full((HEIGHT, WIDTH), ROAD, np.uint8)
    some = labels.copy()
    some[: HEIGHT // 4] = 255
    pixels = {CAMERA: labels, '/a/labels': labels, '/b/labels': some}
    bag = write_still(tmp_path / 'drive', pixels)
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


def evaluated(drive: Path, truth: str, *, topic: str = '', ids: str = 'classes') -> DriveEvaluation:
    source = RecordedLabels(drive, LABELS, '', TOLERANCE)
    opened = GroundTruth(truth, drive, CAMVID, TOLERANCE, topic=topic, ids=ids)
    with closing(source), closing(opened):
        return evaluate_drive(ImageSequence(drive), source, opened)


def write_masks(folder: Path, names: Iterable[str], mask: np.ndarray | None = None) -> str:
    folder.mkdir()
    for name in names:
        cv2.imwrite(str(folder / f'{name}.png'), true_labels() if mask is None else mask)
    return str(folder)


def require_known(evaluation: DriveEvaluation) -> None:
    """The figures that follow from a right half of which the upper half is wrong."""
    values = evaluation.to_dict()
    assert evaluation.frames_compared == 4
    assert [values['iou'][name] for name in ('road', 'car', 'building')] == [1, 0.5, 0]
    assert values['mean_iou'] == 0.5
    assert values['pixel_accuracy'] == 0.75
    assert values['calibration_error'] == 0.05
    assert values['over_time']['mean_iou'] == [0.75] * 4


def test_a_topic_of_the_bag_and_folders_of_masks(drive: Path, tmp_path: Path) -> None:
    require_known(evaluated(drive, TRUTH))
    stamps = [stamp + 1_000_000 for stamp in STAMPS]
    require_known(evaluated(drive, write_masks(tmp_path / 'nanoseconds', map(str, stamps))))
    names = [f'{stamp // 10**9}_{stamp % 10**9:09d}' for stamp in stamps]
    require_known(evaluated(drive, write_masks(tmp_path / 'sec_nanosec', names)))


def test_a_second_bag(drive: Path, tmp_path: Path) -> None:
    wide = true_labels().astype(np.uint16)
    messages = [Message('/gt', stamp, wide, '16UC1') for stamp in STAMPS]
    other = write_messages(tmp_path / 'other', messages)
    require_known(evaluated(drive, str(other), topic='/gt'))
    with pytest.raises(LemoreError, match='name it with --ground-truth-topic'):
        evaluated(drive, str(other))
    messages = [Message('/x/labels/compressed', stamp, true_labels(), 'png') for stamp in STAMPS]
    require_known(evaluated(drive, str(write_messages(tmp_path / 'png', messages))))


def test_a_mask_of_half_the_size_is_compared_at_its_own(drive: Path, tmp_path: Path) -> None:
    folder = write_masks(tmp_path / 'half', map(str, STAMPS), true_labels()[::2, ::2])
    evaluation = evaluated(drive, folder)
    require_known(evaluation)
    assert evaluation.scores.matrix.counts.sum() == 4 * HEIGHT * WIDTH / 4


def test_some_images_have_truth(drive: Path, tmp_path: Path) -> None:
    stamps = [STAMPS[1], STAMPS[1] + 20_000_000, STAMPS[3] + STEP_NS]
    evaluation = evaluated(drive, write_masks(tmp_path / 'masks', map(str, stamps)))
    assert (evaluation.frames, evaluation.frames_compared) == (4, 1)
    assert evaluation.to_dict()['over_time']['mean_iou'] == [None, 0.75, None, None]


def test_a_mask_that_cannot_be_read_costs_itself(drive: Path, tmp_path: Path, lemore: Any) -> None:
    folder = write_masks(tmp_path / 'masks', map(str, STAMPS))
    masks = sorted(Path(folder).iterdir())
    masks[0].write_bytes(masks[0].read_bytes()[:60])
    cv2.imwrite(str(masks[2]), np.full_like(true_labels(), 200))  # no class
    evaluation = evaluated(drive, folder)
    assert (evaluation.frames, evaluation.frames_compared) == (4, 2)
    assert evaluation.error_counts == {UNREADABLE_LABELS: 2}
    arguments = ['bag', 'evaluate', str(drive), '--labels', LABELS, '--ground-truth', folder]
    assert lemore(*arguments).status == 3
    for mask in masks:
        mask.write_bytes(b'')
    with pytest.raises(LemoreError, match=f'{masks[0].name} is no readable image'):
        evaluated(drive, folder)


def test_ids_of_the_data_set_are_asked_for(drive: Path, tmp_path: Path) -> None:
    mask = true_labels()
    mask[0] = 11  # CamVid's own id for unlabelled
    folder = write_masks(tmp_path / 'masks', map(str, STAMPS), mask)
    with pytest.raises(LemoreError, match=r'\[11\].*--ground-truth-ids'):
        evaluated(drive, folder)
    assert evaluated(drive, folder, ids='dataset').frames_compared == 4


def test_labels_that_are_left_open_are_no_errors_but_are_counted(tmp_path: Path) -> None:
    said = true_labels()
    said[:, : WIDTH // 4] = 255
    pixels = {CAMERA: np.zeros_like(said), LABELS: said, TRUTH: true_labels()}
    bag = write_still(tmp_path / 'drive', pixels)
    source = RecordedLabels(bag, LABELS, 'camvid', TOLERANCE)
    truth = GroundTruth(TRUTH, bag, CAMVID, TOLERANCE)
    values = evaluate_drive(ImageSequence(bag, CAMERA), source, truth).to_dict()
    assert values['pixel_accuracy'] == 1
    assert values['left_unlabelled'] == 0.25
    assert values['calibration_error'] is None


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['17_5'], r'it begins at 17.000 s, the images at 1700000000.000 s'),
        (['frame7'], r'frame7.png is not named by its stamp'),
        (['17_1000000000'], r'is not named by its stamp'),
        ([], 'holds no masks'),
    ],
)
def test_masks_that_fit_nothing_are_refused(
    drive: Path, tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(LemoreError, match=message):
        evaluated(drive, write_masks(tmp_path / 'masks', names))


def test_truth_that_is_not_there_is_refused(drive: Path) -> None:
    with pytest.raises(LemoreError, match=r'no topic of .* and no folder or bag'):
        evaluated(drive, '/no/such')
    with pytest.raises(LemoreError, match=r'holds .bgr8. images, labels are mono8'):
        evaluated(drive, '/camera/image_raw')


def test_truth_of_another_camera_is_refused(drive: Path, tmp_path: Path) -> None:
    folder = write_masks(tmp_path / 'square', map(str, STAMPS), np.zeros((64, 64), np.uint8))
    with pytest.raises(LemoreError, match='64x64 and the image 64x48'):
        evaluated(drive, folder)
    # a pixel of rounding is no other shape
    small = write_masks(tmp_path / 'small', map(str, STAMPS), np.zeros((5, 6), np.uint8))
    assert evaluated(drive, small).frames_compared == 4
