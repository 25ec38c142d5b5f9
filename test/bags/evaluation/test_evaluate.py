from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError
from lemore_core.data.datasets import open_dataset
from lemore_core.evaluation.evaluate import evaluate
from lemore_core.evaluation.strategies import Views, predictor_for
from lemore_core.segmenter import Segmenter, resolve_checkpoint
from lemore_core.taxonomy import load_taxonomy
from lemore_ros.bags.evaluation.evaluate import (
    OUT_OF_ORDER,
    DriveEvaluation,
    Flicker,
    JudgedFrame,
    evaluate_drive,
)
from lemore_ros.bags.evaluation.image_sequence import (
    REMEMBERED,
    UNREADABLE,
    ImageSequence,
    Matcher,
    Stamped,
)
from lemore_ros.bags.evaluation.label_sources import (
    RESIZED,
    UNREADABLE_LABELS,
    WITHOUT_LABELS,
    GroundTruth,
    ModelLabels,
    RecordedLabels,
)
from lemore_ros.bags.evaluation.report import worst_frames
from test.bags.evaluation.known_drives import (
    CAMERA,
    HEIGHT,
    NODE,
    START_NS,
    STEP_NS,
    TRUTH,
    WIDTH,
    Message,
    drive_messages,
    image,
    said_labels,
    write_messages,
)

CAMVID = load_taxonomy('camvid')
TOLERANCE = 5_000_000
LABELS = f'{NODE}/labels'


def evaluated(drive: Path, dataset: str = '') -> DriveEvaluation:
    with closing(RecordedLabels(drive, LABELS, dataset, TOLERANCE)) as source:
        return evaluate_drive(ImageSequence(drive), source)


def test_labels_of_a_recording_have_its_latency_and_confidence(drive: Path) -> None:
    values = evaluated(drive).to_dict()
    expected = {'frames': 4, 'frames_with_ground_truth': 0, 'seconds': 0.3}
    expected |= {'latency_ms': 20, 'mean_confidence': 0.8, 'doubtful': 0}
    assert expected.items() <= values.items()
    shares = values['class_shares']
    assert (shares['road'], shares['car'], shares['building']) == (0.5, 0.25, 0.25)
    assert 'mean_iou' not in values
    assert 'mean_iou' not in values['over_time']


def test_what_is_wrong_with_a_drive_is_counted(tmp_path: Path) -> None:
    messages = drive_messages([0.5] * 6)
    times = [START_NS + i * STEP_NS for i in range(6)]

    def changed(message: Message) -> Message | None:
        if message.topic == CAMERA and message.stamp_ns == times[1]:
            return message._replace(encoding='no such', received_ns=times[1])
        if message.topic == LABELS and message.stamp_ns == times[2]:
            return None
        if message.topic == LABELS and message.stamp_ns == times[3]:
            return message._replace(encoding='no such')
        if message.topic == LABELS and message.stamp_ns == times[4]:
            return message._replace(pixels=said_labels()[::2, ::2])
        return message

    kept = [message for message in map(changed, messages) if message is not None]
    again = Message(CAMERA, times[0], image(), 'bgr8', times[5] + 1)
    bag = write_messages(tmp_path / 'drive', [*kept, again])
    evaluation = evaluated(bag)
    assert evaluation.frames == 3
    expected = {UNREADABLE: 1, UNREADABLE_LABELS: 1, WITHOUT_LABELS: 2, RESIZED: 1}
    assert evaluation.error_counts == expected


def stamped(path: Path, stamps: Sequence[int]) -> DriveEvaluation:
    """Evaluate a drive with these stamps, received at equal intervals."""
    messages = []
    for i, stamp in enumerate(stamps):
        received = START_NS + i * STEP_NS
        messages.append(Message(CAMERA, stamp, image(), 'bgr8', received))
        messages.append(Message(LABELS, stamp, said_labels(), 'mono8', received))
    return evaluated(write_messages(path, messages), 'camvid')


def test_stamps_out_of_order_are_counted_and_not_compared(tmp_path: Path) -> None:
    evaluation = stamped(tmp_path / 'drive', [START_NS + i * STEP_NS for i in (0, 2, 1, 3)])
    assert evaluation.frames == 4
    assert evaluation.error_counts == {OUT_OF_ORDER: 1}
    assert evaluation.flicker.breaks == 1


@pytest.mark.parametrize(
    'stamps',
    [
        [0 if i in {9, 20} else 10**9 + i * STEP_NS for i in range(40)],  # in simulated time
        [0 if i < 8 else 10**9 + i * STEP_NS for i in range(40)],  # before its first clock
        [START_NS + i % 20 * STEP_NS for i in range(40)],  # a drive that is played again
        [START_NS + (10**17 if i == 9 else i * STEP_NS) for i in range(40)],  # a wrong one
    ],
)
def test_stamps_that_jump_cost_no_labels_of_others(tmp_path: Path, stamps: list[int]) -> None:
    assert stamped(tmp_path / 'drive', stamps).frames == 40


def test_zero_stamps_are_replaced_by_receive_times(tmp_path: Path) -> None:
    evaluation = stamped(tmp_path / 'drive', [0] * 3)
    assert (evaluation.frames, evaluation.to_dict()['seconds']) == (3, 0.2)


def test_the_worst_frames_are_kept_for_each_reason(tmp_path: Path) -> None:
    mistakes = [0.0] * 40
    mistakes[7], mistakes[20], mistakes[21], mistakes[30] = 0.5, 0.25, 0.75, 1.0
    messages = drive_messages(mistakes)
    doubtful = START_NS + 35 * STEP_NS
    messages = [
        m._replace(pixels=np.full((HEIGHT, WIDTH), 100, np.uint8))
        if m.topic.endswith('confidence') and m.stamp_ns == doubtful
        else m
        for m in messages
    ]
    drive = write_messages(tmp_path / 'drive', messages)
    worst = worst_frames(2, CAMVID)
    truth = GroundTruth(TRUTH, drive, CAMVID, TOLERANCE)
    evaluate_drive(ImageSequence(drive), RecordedLabels(drive, LABELS, '', TOLERANCE), truth, worst)
    found = {
        reason: [p.name.split()[0] for p in worst.images if reason in p.figures['chosen for']]
        for reason in ('low mIoU', 'low confidence', 'flicker')
    }
    assert found['low mIoU'] == ['3.00', '2.10'], '2.00 is no half second before'
    assert '3.50' in found['low confidence']
    assert {'3.00', '3.10'} & set(found['flicker'])
    first = worst.images[0]
    assert [pane.caption for pane in first.panes] == [
        'image',
        'labels and ground truth',
        'errors red, unlabelled dark',
        'confidence below 50 % red',
        'changed since the last frame red',
    ]


@pytest.mark.parametrize(
    ('labels', 'dataset', 'message'),
    [
        ('/no/labels', '', 'has no topic /no/labels'),
        (TRUTH, '', 'has no class table beside /truth/labels'),
        (f'{NODE}/classes', '', 'its image topics are'),
        ('', '', 'has 2 topics of labels: choose one with --labels'),
        (LABELS, 'mars', 'mars'),
    ],
)
def test_labels_that_cannot_be_had_are_refused(
    drive: Path, labels: str, dataset: str, message: str
) -> None:
    with pytest.raises(LemoreError, match=message):
        RecordedLabels(drive, labels, dataset, TOLERANCE)


def test_a_part_is_measured_alone(drive: Path) -> None:
    source = RecordedLabels(drive, LABELS, '', TOLERANCE)
    with pytest.raises(LemoreError, match='no images on /camera/image_raw in this part'):
        evaluate_drive(ImageSequence(drive, start_s=100), source)
    evaluation = evaluate_drive(ImageSequence(drive, start_s=0.1, duration_s=0.2), source)
    assert evaluation.frames == 2


def test_the_model_labels_as_it_does_elsewhere(
    untrained_checkpoint: Path, clip_frames: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    frames = [np.ascontiguousarray(frame[::4, ::4]) for frame in clip_frames[:3]]
    messages = [
        Message(CAMERA, START_NS + i * STEP_NS, frame, 'bgr8') for i, frame in enumerate(frames)
    ]
    drive = write_messages(tmp_path / 'drive', messages)
    segmenter = Segmenter.load(untrained_checkpoint, backend='torch', device='cpu')
    seen: list[JudgedFrame] = []
    evaluation = evaluate_drive(ImageSequence(drive), ModelLabels(segmenter), None, seen.append)
    assert evaluation.frames == 3
    for frame, judged in zip(frames, seen, strict=True):
        own = segmenter.segment(frame, 'bgr8')
        assert np.array_equal(own.labels, judged.labels.labels)
    assert evaluation.to_dict()['latency_ms'] > 0


def test_figures_are_those_of_the_data_set(camvid: Path, tmp_path: Path) -> None:
    samples = open_dataset('camvid', camvid).samples('val')[:3]
    masks = tmp_path / 'masks'
    masks.mkdir()
    messages = []
    for i, sample in enumerate(samples):
        stamp = START_NS + i * STEP_NS
        messages.append(Message(CAMERA, stamp, sample.read_image(), 'rgb8'))
        mask = cv2.imread(str(sample.mask), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(masks / f'{stamp}.png'), mask)
    drive = write_messages(tmp_path / 'drive', messages)
    segmenter = Segmenter.load(resolve_checkpoint('nano', 'camvid'), backend='torch', device='cpu')
    truth = GroundTruth(str(masks), drive, CAMVID, 0, ids='dataset')
    found = evaluate_drive(ImageSequence(drive), ModelLabels(segmenter), truth)
    expected = evaluate(predictor_for(segmenter, Views()), samples)
    assert found.scores.figures(CAMVID.classes) == expected.figures
    assert found.scores.matrix.mean_iou > 0.4


def test_the_share_of_changed_pixels_is_flicker_and_unlabelled_ones_do_not_count() -> None:
    labels, flicker = np.zeros((8, 10), np.uint8), Flicker(3)
    assert math.isnan(flicker.share)
    assert flicker.add(0, labels)[1] is None
    other = labels.copy()
    other[:2] = 1
    other[4:] = 255
    share, changed = flicker.add(STEP_NS, other)
    assert share == 0.5
    assert changed is not None
    assert np.array_equal(changed, other == 1)
    share, _ = flicker.add(2 * STEP_NS, np.full_like(labels, 255))
    assert math.isnan(share)
    assert (flicker.share, flicker.breaks) == (0.5, 0)
    assert flicker.add(2 * STEP_NS, labels)[1] is None, 'the same stamp'
    assert flicker.add(2 * 10**9, labels)[1] is None, 'more than a second later'
    assert flicker.add(2 * 10**9 + 1, labels[:4])[1] is None, 'another size'
    assert (flicker.share, flicker.breaks) == (0.5, 3)


def items(times: Sequence[int]) -> Iterator[Stamped[int]]:
    return iter([Stamped(time, time, lambda time=time: time) for time in times])  # type: ignore[misc]


def taken(times: Sequence[int], asked: Sequence[int], tolerance: int) -> list[int | None]:
    matcher = Matcher(items(times), tolerance)
    found = []
    for moment, following in zip_longest(asked, asked[1:]):
        item = matcher.take(moment, following)
        found.append(None if item is None else item.load())
    return found


@pytest.mark.parametrize(
    ('times', 'asked', 'tolerance', 'found'),
    [
        ([0, 10, 20], [0, 10, 20], 0, [0, 10, 20]),
        ([1, 12], [0, 10, 20], 2, [1, 12, None]),
        ([13], [0, 10, 20], 2, [None, None, None]),
        # what is nearer to the next moment waits for it
        ([9], [0, 10, 20], 9, [None, 9, None]),
        # each is given once
        ([5], [4, 6], 9, [5, None]),
        # more truth than images
        (list(range(0, 1000, 3)), [300, 600], 1, [300, 600]),
        # out of order
        ([0, 20, 10, 30], [0, 10, 20, 30], 1, [0, 10, 20, 30]),
        ([0, 10, 20], [10, 0, 20], 1, [10, 0, 20]),
        ([], [1, 2], 1, [None, None]),
    ],
)
def test_each_moment_gets_what_is_nearest(
    times: list[int], asked: list[int], tolerance: int, found: list[int | None]
) -> None:
    assert taken(times, asked, tolerance) == found


def test_truth_of_some_images_is_found_in_each_loop_of_a_drive() -> None:
    second, loops = 10**9, [second for _ in range(3) for second in range(30)]
    some = [(at * second, i * second) for i, at in enumerate(loops) if at % 5 == 0]
    stream = iter([Stamped(at, received, lambda: 0) for at, received in some])
    matcher = Matcher(stream, 0, (0, len(loops) * second))
    found = [matcher.take(at * second, None, i * second) for i, at in enumerate(loops)]
    assert [(one.time_ns, one.received_ns) for one in found if one] == some


@pytest.mark.parametrize(('first', 'skip'), [(8, 0), (12, 0), (4, 100)])
def test_the_first_stamps_may_be_zero_before_there_are_labels(first: int, skip: int) -> None:
    received = [START_NS + i * STEP_NS for i in range(200)]
    stamps = [at if i < 8 else 10**9 + i * STEP_NS for i, at in enumerate(received)]
    labels = [Stamped(*times, lambda: 0) for times in zip(stamps, received, strict=True)]
    matcher = Matcher(iter(labels[first:]), 0, (received[0], received[-1]))
    found = [matcher.take(stamps[i], None, received[i]) for i in range(skip, 200)]
    assert [one for one in found if one] == labels[max(first, skip) :]


def test_older_items_are_forgotten() -> None:
    matcher = Matcher(items(range(1000)), 0)
    assert matcher.take(900) is not None
    assert matcher.take(900 - REMEMBERED - 1) is None
    assert matcher.first_ns == 0
