from __future__ import annotations

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lemore_core.cli.main import main
from lemore_core.data.readers import read_labels
from lemore_core.images.files import ImageFileError
from lemore_core.images.render import legend
from lemore_core.images.video import VideoError, VideoWriter, frames_expected, read_video
from lemore_core.predict import PredictError, find_sources, predict
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import load_taxonomy


@pytest.fixture(scope='module')
def segmenter(untrained_checkpoint: Path) -> Segmenter:
    return Segmenter.load(untrained_checkpoint, backend='torch', device='cpu')


@pytest.fixture
def clip(tmp_path: Path, clip_frames: list[NDArray[np.uint8]]) -> Path:
    """Five images of the shipped clip, half a second apart."""
    path = tmp_path / 'drive.mp4'
    with VideoWriter(path) as video:
        for index, frame in enumerate(clip_frames):
            small = cv2.resize(frame, (160, 90))
            video.write(index * 500_000_000, np.ascontiguousarray(small[..., ::-1]))
    return path


def read(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, path
    return np.asarray(image, np.uint8)


def test_a_written_video_is_read_back(clip: Path) -> None:
    frames = list(read_video(clip))
    assert [time for time, _ in frames] == [i * 500_000_000 for i in range(5)]
    assert frames[0][1].shape == (90, 160, 3)
    assert frames_expected(clip) == 5


def test_an_unfinished_video_does_not_appear(tmp_path: Path) -> None:
    path = tmp_path / 'never.mp4'

    def fail() -> None:
        with VideoWriter(path) as video:
            video.write(0, np.zeros((32, 32, 3), np.uint8))
            msg = 'no power'
            raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match='no power'):
        fail()
    assert not list(tmp_path.iterdir())


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'text.mp4'
    path.write_text('no video')
    with pytest.raises(VideoError, match=r'text\.mp4 is no readable video'):
        frames_expected(path)


def test_a_image_becomes_labels_and_overlay(
    segmenter: Segmenter, clip_frames: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / 'street.png'), clip_frames[0])
    (source,) = find_sources([str(tmp_path / 'street.png')])
    assert list(predict(segmenter, source, tmp_path / 'out', alpha=1.0)) == [1]
    labels = read_labels(tmp_path / 'out' / 'labels' / 'street.png', segmenter.taxonomy)
    assert np.array_equal(labels, segmenter.segment(clip_frames[0], 'bgr8').labels)
    colors = read(tmp_path / 'out' / 'overlay' / 'street.png')[..., ::-1]
    assert np.array_equal(colors, segmenter.taxonomy.palette[labels])


def test_a_video_becomes_a_video_and_numbered_labels(
    segmenter: Segmenter, clip: Path, tmp_path: Path
) -> None:
    (source,) = find_sources([str(clip)])
    assert source.expected() == 5
    assert list(predict(segmenter, source, tmp_path / 'out', alpha=0.5)) == [1, 2, 3, 4, 5]
    overlays = list(read_video(tmp_path / 'out' / 'overlay' / 'drive.mp4'))
    assert [time for time, _ in overlays] == [i * 500_000_000 for i in range(5)]
    images = [pixels for _, pixels in read_video(clip)]
    for index, pixels in enumerate(images):
        path = tmp_path / 'out' / 'labels' / 'drive' / f'{index:06}.png'
        labels = read_labels(path, segmenter.taxonomy)
        assert np.array_equal(labels, segmenter.segment(pixels, 'rgb8').labels)


def test_a_video_can_be_cut_short(segmenter: Segmenter, clip: Path, tmp_path: Path) -> None:
    (source,) = find_sources([str(clip)])
    assert list(predict(segmenter, source, tmp_path / 'out', alpha=0.5, frames=2)) == [1, 2]
    assert len(list(read_video(tmp_path / 'out' / 'overlay' / 'drive.mp4'))) == 2


@pytest.mark.parametrize('keep', [0.5, 0.9])
def test_a_video_that_breaks_off_is_named(clip: Path, keep: float) -> None:
    faststart = clip.with_name('cut.mp4')
    with (
        av.open(str(clip)) as source,
        av.open(str(faststart), 'w', options={'movflags': 'faststart'}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert len(list(read_video(faststart))) == 5
    content = faststart.read_bytes()
    faststart.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(VideoError, match=r'cut\.mp4 (breaks off: it has \d of 5|is damaged)'):
        list(read_video(faststart))


def test_a_video_of_too_many_pixels_is_refused(clip: Path) -> None:
    with pytest.raises(VideoError, match='images of 160x90 pixels, allowed: up to 100'):
        list(read_video(clip, 100))
    with VideoWriter(clip.with_name('new.mp4')) as video:
        video.write(0, np.zeros((32, 32, 3), np.uint8))
        with pytest.raises(VideoError, match='an image of 64x32 does not fit'):
            video.write(1, np.zeros((32, 64, 3), np.uint8))


def test_names_that_are_not_utf8(clip: Path) -> None:
    strange = clip.rename(clip.with_name(os.fsdecode(b'stra\xdfe.mp4')))
    assert frames_expected(strange) == 5
    assert len(list(read_video(strange))) == 5


def test_a_folder_is_its_images(tmp_path: Path) -> None:
    for name in ('b.PNG', 'a.jpg', 'notes.txt', 'sub/a.jpg', '.hidden/c.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [source.name for source in find_sources([str(tmp_path)])] == ['a', 'b', 'sub/a']


def test_a_number_is_a_camera() -> None:
    (source,) = find_sources(['3'])
    assert (source.name, source.camera, source.expected()) == ('camera3', 3, None)
    for text in ('²', '12345', '-1'):
        with pytest.raises(PredictError, match='it is no number of a camera'):
            find_sources([text])


def test_inputs_that_cannot_be_are_named(segmenter: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(PredictError, match=r'no file or folder gone\.png'):
        find_sources(['gone.png'])
    with pytest.raises(PredictError, match='holds no images'):
        find_sources([str(tmp_path)])
    (tmp_path / 'a.png').write_bytes(b'no image')
    (tmp_path / 'a.jpg').touch()
    with pytest.raises(PredictError, match="2 inputs are called 'a'"):
        find_sources([str(tmp_path)])
    (source,) = find_sources([str(tmp_path / 'a.png')])
    with pytest.raises(ImageFileError, match=r'a\.png is no readable image'):
        list(predict(segmenter, source, tmp_path / 'out', alpha=0.5))
    assert not (tmp_path / 'out').exists()


def test_the_command_takes_several_inputs(
    clip: Path,
    clip_frames: list[NDArray[np.uint8]],
    untrained_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cv2.imwrite(str(tmp_path / 'street.png'), clip_frames[0])
    inputs = [str(clip), str(tmp_path / 'street.png')]
    options = [
        '--rotate',
        '180',
        '--model',
        str(untrained_checkpoint),
        '--backend',
        'torch',
        '-o',
        str(tmp_path / 'o'),
    ]
    assert main(['predict', *inputs, *options]) == 0
    assert '2 inputs' in capsys.readouterr().out
    assert (tmp_path / 'o' / 'overlay' / 'drive.mp4').is_file()
    overlaid = read(tmp_path / 'o' / 'overlay' / 'street.png')
    height, width = clip_frames[0].shape[:2]
    names = legend(load_taxonomy('camvid'), width)
    assert np.array_equal(overlaid[height:, :, ::-1], names)
