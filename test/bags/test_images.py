"""The cameras of bags as sources of images, and what ``lemore predict`` makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lemore_core.common.errors import LemoreError
from lemore_core.images.files import read_image
from lemore_core.images.video import read_video
from lemore_core.segmenter import Segmenter
from lemore_core.sources import open_sources
from lemore_core.taxonomy import load_taxonomy
from test.bags.conftest import IMAGE, START, BagFolder, image, pattern
from test.bags.evaluation.known_drives import (
    BUILDING,
    CAMERA,
    HEIGHT,
    NODE,
    ROAD,
    START_NS,
    STEP_NS,
    WIDTH,
    Message,
    drive_messages,
    said_labels,
    write_messages,
)
from test.bags.evaluation.known_drives import image as camera_image

CAMVID = load_taxonomy('camvid')
LABELS = f'{NODE}/labels'


def is_near(pixel: Any, color: Any) -> bool:
    return bool(np.abs(np.subtract(pixel, color, dtype=float)).max() < 16)


def predict(lemore: Any, *arguments: object, model: Path | None = None) -> tuple[int, str, str]:
    """Run ``lemore predict``; return exit status, output and errors."""
    named = ['--model', model, '--backend', 'onnxruntime', '--device', 'cpu'] if model else []
    status, out, err = lemore('predict', *arguments, *named)
    return status, out.removeprefix(f'labels of the model {model and model.stem} (camvid)\n'), err


def test_each_camera_of_a_bag_is_a_source(
    bags: BagFolder, exported: Path, tmp_path: Path, lemore: Any
) -> None:
    messages = [('/front', IMAGE, START + i, image(i, START + i * 10**8)) for i in range(3)]
    messages += [('/rear', IMAGE, START + 9, image(7, START))]
    messages += [('/side', IMAGE, START + 9, image(7, START, encoding='no such'))]
    path = bags.write(messages)
    sources = open_sources([path])
    assert [(one.name, one.expected) for one in sources] == [('drive/front', 3), ('drive/rear', 1)]
    assert all((one.drive, one.is_moving, one.taxonomy) == ('drive', True, None) for one in sources)
    frames = [frame for source in sources for frame in source.frames()]
    assert [frame.name for frame in frames] == ['000000', '000001', '000002', '000000']
    assert [frame.stamp_ns for frame in frames] == [START + i * 10**8 for i in (0, 1, 2, 0)]
    for frame, index in zip(frames, (0, 1, 2, 7), strict=True):
        assert np.array_equal(frame.image.pixels, pattern(index))

    status, out, err = predict(lemore, path, '-o', tmp_path / 'out', model=exported)
    assert (status, out.partition(':')[0]) == (3, '4 images')
    assert "/side is left out: encoding 'no such' is not read" in err
    video = read_video(tmp_path / 'out' / 'overlay' / 'drive' / 'front.mp4')
    assert [time for time, _ in video] == [0, 10**8, 2 * 10**8]
    assert (tmp_path / 'out' / 'labels' / 'drive' / 'rear' / '000000.png').exists()


def test_names_of_topics_stay_in_the_folder_and_what_is_left_out_is_named(
    bags: BagFolder, exported: Path, tmp_path: Path, lemore: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topics = ['/../../../up/image', f'/{"n" * 300}/image']
    messages = [(topic, IMAGE, START + i, image(i, START + i)) for i in (0, 1) for topic in topics]
    messages.append((topics[0], IMAGE, START + 2, image(0, START, encoding='no such')))
    messages.append(('/depth', IMAGE, START + 2, image(0, START, encoding='16UC1')))
    path, output = bags.write(messages, 'drive.1'), tmp_path / 'deep' / 'out'
    status, out, err = predict(lemore, path, '-o', output, model=exported)
    assert (status, out.partition(':')[0]) == (3, '4 images')
    masks = {mask.parent.relative_to(output / 'labels') for mask in output.rglob('labels/**/*.png')}
    assert masks == {Path('drive.1', 'n' * 60), Path('drive.1/_/_/_/up')}
    assert "images that cannot be decoded: encoding 'no such' is not read" in err
    assert "drive.1: /depth is left out: encoding '16UC1' is that of a depth" in caplog.text


def test_recorded_labels_are_taken_unless_a_model_is_named(
    tmp_path: Path, exported: Path, lemore: Any
) -> None:
    """One image is late, one is tall, one without labels; grey masks are no camera's labels."""
    messages = [m for m in drive_messages([0.5] * 3) if not m.topic.startswith('/truth')]
    stamps = [START_NS + i * STEP_NS for i in range(8)]
    tall = np.full((HEIGHT * 2, WIDTH), 255, np.uint8)
    messages += [
        Message(CAMERA, stamps[3], tall),
        Message(LABELS, stamps[3], np.full_like(tall, BUILDING)),
        Message(CAMERA, stamps[1], camera_image(), 'bgr8', stamps[4]),
        Message(CAMERA, stamps[5], camera_image(), 'bgr8'),
    ]
    drive, output = write_messages(tmp_path / 'drive', messages), tmp_path / 'out'
    status, out, err = predict(lemore, drive, '-o', output, '--alpha', '1')
    assert status == 3
    assert out.splitlines()[0].startswith('drive: labels as recorded')
    assert out.splitlines()[1].startswith('6 images: ')
    assert out.splitlines()[2] == '2 images without recorded labels'
    assert err.endswith('drive: not in the video: the stamp is not after the one before\n')
    masks = sorted((output / 'labels' / 'drive').iterdir())
    assert [mask.stem for mask in masks] == ['000000', '000001', '000002', '000003']
    assert np.array_equal(read_image(masks[0]), CAMVID.palette[said_labels(0.5)])

    frames = list(read_video(output / 'overlay' / 'drive.mp4'))
    assert [time // STEP_NS for time, _ in frames] == [0, 1, 2, 3, 5]
    first = frames[0][1]
    assert first.shape == (HEIGHT, 2 * WIDTH, 3)
    assert (output / 'legend.png').is_file()  # larger than the image
    assert np.abs(first[:HEIGHT, :WIDTH].astype(float) - camera_image()[..., ::-1]).mean() < 12
    assert is_near(first[HEIGHT // 2, WIDTH + WIDTH // 4], CAMVID.colors[ROAD])
    assert is_near(frames[3][1][HEIGHT // 2, WIDTH + WIDTH // 2], CAMVID.colors[BUILDING])

    done = lemore('view', drive, '--save', tmp_path / 'drive.rrd')
    assert done.status == 0
    assert done.out.startswith('drive: labels as recorded')
    arguments = [drive, '-o', tmp_path / 'model', '--frames', 1]
    status, out, _ = predict(lemore, *arguments, model=exported)
    assert (status, out.partition(':')[0]) == (0, '1 image')
    segmenter = Segmenter.load(exported, backend='onnxruntime', device='cpu')
    labels = segmenter.segment(camera_image(), 'bgr8').labels
    mask = read_image(tmp_path / 'model' / 'labels' / 'drive' / '000000.png')
    assert np.array_equal(mask, CAMVID.palette[labels])


def test_a_video_survives_stamps_that_jump(
    bags: BagFolder, exported: Path, tmp_path: Path, lemore: Any
) -> None:
    stamps = [100 * 10**9 + i * 10**8 for i in range(3)] + [START, START + 10**8, 0, 0]
    path = bags.write(
        [('/front', IMAGE, START + i * 10**8, image(i, stamp)) for i, stamp in enumerate(stamps)]
    )
    for command in (['predict'], ['bag', 'video']):
        output = tmp_path / f'{command[-1]}.mp4'
        done = lemore(*command, path, '-o', output, '--model', exported)
        assert (done.status, done.out.endswith(f'7 images: {output}\n')) == (0, True)
        # the last two have the times at which they were received
        assert [t // 10**8 for t, _ in read_video(output)] == [0, 1, 2, 3, 4, 8, 9]
    assert not (tmp_path / 'labels').exists()
    assert lemore('bag', 'info', path).says('1 jump of the stamps, the longest by')


def test_labels_belong_to_the_camera_of_their_name_or_the_only_one_in_colour(
    tmp_path: Path,
) -> None:
    messages = drive_messages([0.5])
    path = write_messages(tmp_path / 'drive', messages)
    found = {one.name: one.taxonomy for one in open_sources([path], with_labels=True)}
    assert found.keys() == {'drive'}
    assert found['drive'] is not None
    named = [
        m._replace(topic=m.topic.replace(NODE, f'{NODE}/front').replace('/camera/', '/front/'))
        for m in messages
        if m.topic != '/truth/labels'
    ]
    rear = [
        m._replace(topic=m.topic.replace('/front/', '/rear/')) for m in named if NODE not in m.topic
    ]
    path = write_messages(tmp_path / 'several', [*named, *rear])
    found = {one.name: one.taxonomy for one in open_sources([path], with_labels=True)}
    assert found['several/front'] is not None
    assert found['several/rear'] is None
    again = [m._replace(topic=m.topic.replace(NODE, '/other')) for m in messages if NODE in m.topic]
    path = write_messages(tmp_path / 'both', [*messages, *again])
    with pytest.raises(LemoreError, match=rf'on {LABELS}, /other/labels: name a --model'):
        open_sources([path], with_labels=True)
    assert len(open_sources([path])) == 1


def test_a_damaged_bag_is_taken_up_to_the_damage(
    bags: BagFolder, tmp_path: Path, exported: Path, lemore: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [
        ('/front', IMAGE, START + i, image(i, START + i * 10**8, size=(480, 640)))
        for i in range(12)
    ]
    messages[1] = ('/front', IMAGE, START + 3, image(1, START, encoding='no such'))
    path = bags.write(messages)
    (file,) = path.glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    status, out, err = predict(lemore, path, '-o', tmp_path / 'out', model=exported)
    assert status == 3
    assert 1 < int(out.partition(' images')[0]) < 6
    assert 'drive: images that cannot be decoded' in err
    assert file.name in err
    # of a recording that broke off the first images are asked for
    (path / 'metadata.yaml').unlink()
    file.rename(path / 'drive_0.mcap')
    monkeypatch.chdir(path)
    status, out, err = predict(lemore, '.', '-o', tmp_path / 'new', '--frames', 2, model=exported)
    assert (status, out.partition(':')[0]) == (3, '2 images')
    assert 'drive: images that cannot be decoded' in err
    assert 'metadata.yaml is missing' in err
    assert (tmp_path / 'new' / 'overlay' / 'drive.mp4').exists()
