from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lemore_core.common.errors import LemoreError
from lemore_core.data.samples import read_labels
from lemore_core.images.files import SUBFILE
from lemore_core.images.render import legend
from lemore_core.images.video import VideoError, frames_expected, read_video, video_writer
from lemore_core.predict import PredictError, check_names, predict
from lemore_core.segmenter import Segmenter
from lemore_core.sources import SourceError, error_lines, open_sources
from lemore_core.taxonomy import load_taxonomy


@pytest.fixture
def clip(tmp_path: Path, clip_frames: list[NDArray[np.uint8]]) -> Path:
    """Five images of the shipped clip, half a second apart."""
    path = tmp_path / 'my_clip.mp4'
    with video_writer(path) as video:
        for index, frame in enumerate(clip_frames):
            small = cv2.resize(frame, (160, 90))
            video.write(index * 500_000_000, np.ascontiguousarray(small[..., ::-1]))
    return path


def run(segmenter: Segmenter, path: Path, output: Path, **options: int) -> list[str]:
    (source,) = open_sources([path])
    return [frame.name for frame in predict(segmenter, source, output, alpha=1.0, **options)]


def read(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, path
    return np.asarray(image, np.uint8)


def write_images(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((32, 48, 3), number, np.uint8))


def test_drives_are_the_names_of_images_the_folder_or_the_video(tmp_path: Path, clip: Path) -> None:
    write_images(
        tmp_path / 'camvid', '0001TP_1.png', '0001TP_2.jpg', '06R_1.png', '.hidden/07_1.png'
    )
    write_images(tmp_path / 'my_orchard', 'deep/frame_1.png', 'deep/frame_2.png')
    (tmp_path / 'camvid' / 'notes.txt').touch()
    sources = open_sources([tmp_path / 'camvid', tmp_path / 'my_orchard', clip, '3'])
    assert [(one.name, one.drive, one.expected, one.is_moving) for one in sources] == [
        ('0001TP', '0001TP', 2, False),
        ('06R', '06R', 1, False),
        ('my-orchard', 'my-orchard', 2, False),
        ('my_clip', 'my-clip', 5, True),
        ('camera3', 'camera3', None, True),
    ]
    frames = list(sources[2].frames())
    names = ('deep/frame_1', 'deep/frame_2')
    assert [(f.drive, f.name, f.stamp_ns) for f in frames] == [
        ('my-orchard', name, None) for name in names
    ]
    assert frames[1].path == tmp_path / 'my_orchard' / 'deep' / 'frame_2.png'
    assert frames[1].image.pixels.shape == (32, 48, 3)
    assert [(f.name, f.stamp_ns) for f in sources[3].frames()] == [
        (f'{number:06}', number * 500_000_000) for number in range(5)
    ]


def test_what_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    write_images(tmp_path / 'in', 'a.png', 'c.png')
    (tmp_path / 'in' / 'b.png').write_bytes(b'no image')
    for name in [
        'x.heic',
        'y.HEIC',
        'clip.mp4',
        'clip.flv',
        'notes.txt',
        '.hidden.png',
        'photos.zip',
    ]:
        (tmp_path / 'in' / name).touch()
    write_images(tmp_path / 'in', '.hidden/d.png')
    for name in ('e.jpg_large', 'noend'):
        shutil.copy(tmp_path / 'in' / 'a.png', tmp_path / 'in' / name)
    (tmp_path / 'in' / 'gone.png').symlink_to('/none/gone.png')
    (images,) = open_sources([tmp_path / 'in'], 32 * 48)
    assert [frame.name for frame in images.frames()] == ['a', 'c']
    lines = sorted(error_lines([images]))
    for line, start in zip(
        lines,
        [
            'in: .flv files in folders are not read: give them by their names',
            'in: .heic files are not read: convert them to .png or .jpg (2 times)',
            'in: .mp4 files in folders are not read',
            'in: .zip files are not read: unpack them',
            f'in: {tmp_path / "in" / ".hidden"} is hidden: give it by its name',
            f'in: {tmp_path / "in" / "b.png"} is no readable image',
            f'in: {tmp_path / "in" / "gone.png"} is a link to /none/gone.png, which does not',
            'in: images called .jpg_large are not read: rename them to .jpg or .png',
            'in: images without an ending are not read: rename them to .jpg or .png',
        ],
        strict=True,
    ):
        assert line.startswith(start)
    (small,) = open_sources([tmp_path / 'in' / 'a.png'], 10)
    assert not list(small.frames())
    assert 'allowed: up to 10 (max_pixels)' in error_lines([small])[0]


def test_what_a_photo_holds_besides_its_first_image_is_named(tmp_path: Path) -> None:
    one, small = Image.new('RGB', (48, 32)), Image.new('RGB', (24, 16))
    small.encoderinfo = {'tiffinfo': {SUBFILE: 1}}  # a smaller copy
    for name, more, kind in (
        *(('a.webp', [one, one], 'webp'), ('b.png', [one], 'png'), ('c.tiff', [one], 'tiff')),
        *(('d.tiff', [small], 'tiff'), ('e.jpg', [small], 'mpo'), ('f.png', [], 'png')),
    ):
        changed = [Image.eval(image, lambda _, i=i: 40 * i) for i, image in enumerate(more, 1)]
        for image, source in zip(changed, more, strict=True):
            image.encoderinfo = getattr(source, 'encoderinfo', {})
        one.save(tmp_path / name, kind, save_all=True, append_images=changed)
    (source,) = open_sources([tmp_path])
    assert len(list(source.frames())) == 6
    found = [line.partition(': ')[2].removeprefix(f'{tmp_path}/') for line in error_lines([source])]
    assert found == [
        'a.webp: 2 images after its first not read',
        'b.png: 1 image after its first not read',
        'c.tiff: 1 image after its first not read',
    ]
    for name in ('photo.HEIC', 'raw.dng'):
        (tmp_path / name).touch()
        with pytest.raises(SourceError, match=f'{name} is not read: convert it to .png or .jpg'):
            open_sources([tmp_path / name])


def test_images_of_one_name_keep_their_suffix_and_results_are_no_inputs(tmp_path: Path) -> None:
    write_images(tmp_path, '1.jpg', '1.png', '2.png')
    sources = open_sources([tmp_path])
    assert [name for one in sources for name in one.results] == ['1.jpg', '1.png', '2']
    check_names(sources, tmp_path / 'out')
    write_images(tmp_path, 'out/labels/1.png')
    with pytest.raises(PredictError, match='has results of an earlier run: give another folder'):
        check_names(open_sources([tmp_path]), tmp_path / 'out')


def test_folders_that_are_links_are_read_once(tmp_path: Path) -> None:
    write_images(tmp_path / 'in', 'a.png', 'deep/b.png')
    write_images(tmp_path / 'other', 'c.png')
    for name, target in (('1', 'deep'), ('2', '../other'), ('3', '../other'), ('deep/up', '..')):
        (tmp_path / 'in' / name).symlink_to(target)
    sources = open_sources([tmp_path / 'in'])
    assert sorted(f.name for one in sources for f in one.frames()) == ['2/c', 'a', 'deep/b']
    assert not error_lines(sources)


def test_of_several_inputs_each_costs_itself(
    clip: Path, untrained_checkpoint: Path, tmp_path: Path, lemore: Any
) -> None:
    (tmp_path / 'broken.png').touch()
    inputs = [str(tmp_path / 'gone'), str(tmp_path / 'broken.png'), str(clip)]
    options = ['--model', str(untrained_checkpoint), '--backend', 'torch']
    options += ['-o', str(tmp_path / 'o')]
    done = lemore('predict', *inputs, *options)
    assert done.fails('there is no file or folder', 'broken.png is empty', status=3)
    assert done.out.splitlines()[-1].startswith('5 images: ')
    assert lemore('predict', *inputs[:2], *options).status == 1


def test_inputs_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.mp4').write_text('no video')
    (tmp_path / 'a.zip').write_bytes(b'PK')
    for name, message in (
        ('gone.png', r'no file or folder .*gone\.png'),
        ('empty', 'holds no images'),
        ('/dev/video7', '/dev/video7 is a camera: give its number 7'),
        ('a.zip', 'is an archive: unpack it, and give what it holds'),
        ('text.mp4', r'text\.mp4 is no readable video: .*; images end in \.png, .*; bags are read'),
    ):
        with pytest.raises(LemoreError, match=message):
            open_sources([tmp_path / name])
    for text in ('²', '12345', '-1'):
        with pytest.raises(LemoreError, match='it is no number of a camera'):
            open_sources([text])


def test_names_of_videos_need_not_be_utf8_and_large_ones_are_refused(clip: Path) -> None:
    strange = clip.rename(clip.with_name(os.fsdecode(b'stra\xdfe.mp4')))
    assert frames_expected(strange) == len(list(read_video(strange))) == 5
    with pytest.raises(VideoError, match='images of 160x90 pixels, allowed: up to 100'):
        list(read_video(strange, 100))


def test_a_video_that_cannot_be_finished_does_not_appear(tmp_path: Path) -> None:
    def write(*widths: int) -> None:
        with video_writer(tmp_path / 'never.mp4') as video:
            for time, width in enumerate(widths):
                video.write(time, np.zeros((32, width, 3), np.uint8))

    with pytest.raises(VideoError, match='an image of 64x32 does not fit'):
        write(32, 64)
    assert not list(tmp_path.iterdir())


def test_an_image_becomes_labels_and_overlay(
    segmenter: Segmenter, clip_frames: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / 'street.png'), clip_frames[0])
    assert run(segmenter, tmp_path / 'street.png', tmp_path / 'out') == ['street']
    labels = read_labels(tmp_path / 'out' / 'labels' / 'street.png', segmenter.taxonomy)
    assert np.array_equal(labels, segmenter.segment(clip_frames[0], 'bgr8').labels)
    colors = read(tmp_path / 'out' / 'overlay' / 'street.png')[..., ::-1]
    assert np.array_equal(colors, segmenter.taxonomy.palette[labels])


def test_a_video_becomes_a_video_and_numbered_labels(
    segmenter: Segmenter, clip: Path, tmp_path: Path
) -> None:
    assert run(segmenter, clip, tmp_path / 'out', frames=4) == [f'{i:06}' for i in range(4)]
    overlays = list(read_video(tmp_path / 'out' / 'overlay' / 'my_clip.mp4'))
    assert [time for time, _ in overlays] == [i * 500_000_000 for i in range(4)]
    for index, (_, pixels) in zip(range(4), read_video(clip), strict=False):
        path = tmp_path / 'out' / 'labels' / 'my_clip' / f'{index:06}.png'
        labels = read_labels(path, segmenter.taxonomy)
        assert np.array_equal(labels, segmenter.segment(pixels, 'rgb8').labels)


def test_a_video_that_breaks_off_is_taken_up_to_there(
    segmenter: Segmenter, clip: Path, tmp_path: Path
) -> None:
    whole = clip.with_name('whole.mp4')
    with (
        av.open(str(clip)) as source,
        av.open(str(whole), 'w', options={'movflags': 'faststart'}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    content, path = whole.read_bytes(), clip.with_name('cut.mp4')
    path.write_bytes(content[: int(0.9 * len(content))])
    (cut,) = open_sources([path])
    taken = list(predict(segmenter, cut, tmp_path / 'out', alpha=0.5))
    assert 0 < len(taken) < 5
    assert len(list(read_video(tmp_path / 'out' / 'overlay' / 'cut.mp4'))) == len(taken)
    (line,) = error_lines([cut])
    assert f'breaks off: it has {len(taken)} images' in line
    path.write_bytes(content[: content.index(b'mdat') + 9])
    with pytest.raises(PredictError, match=r'cut gave no images; .*cut\.mp4 breaks off'):
        run(segmenter, path, tmp_path / 'none')


def test_inputs_of_one_name_and_without_images_are_refused(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    (tmp_path / 'a.png').write_bytes(b'no image')
    write_images(tmp_path, 'deep/a.png')
    with pytest.raises(PredictError, match="2 inputs are called 'a'"):
        check_names(open_sources([tmp_path / 'a.png', tmp_path / 'deep']), tmp_path)
    with pytest.raises(PredictError, match=r'gave no images; .*a\.png is no readable image'):
        run(segmenter, tmp_path / 'a.png', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_the_command_takes_several_inputs(
    clip: Path,
    clip_frames: list[NDArray[np.uint8]],
    untrained_checkpoint: Path,
    tmp_path: Path,
    lemore: Any,
) -> None:
    inputs, output = tmp_path / 'in', tmp_path / 'o'
    inputs.mkdir()
    cv2.imwrite(str(inputs / 'street.png'), clip_frames[0])
    options = ['--rotate', '180', '--model', str(untrained_checkpoint), '--backend', 'torch']
    arguments = ['predict', str(clip), str(inputs), *options, '-o', str(output)]
    done = lemore(*arguments)
    first, last = done.out.splitlines()
    assert (done.status, first) == (0, 'labels of the model untrained (camvid)')
    assert last.startswith('6 images: ')
    assert (output / 'overlay' / 'my_clip.mp4').is_file()
    overlaid = read(output / 'overlay' / 'street.png')
    height, width = clip_frames[0].shape[:2]
    names = legend(load_taxonomy('camvid'), width)
    assert np.array_equal(overlaid[height:, :, ::-1], names)

    # a small image is not all legend
    cv2.imwrite(str(inputs / 'street.png'), clip_frames[0][:40])
    assert lemore('predict', inputs, *options, '-o', output).status == 0
    assert read(output / 'overlay' / 'street.png').shape == (40, width, 3)
    assert (output / 'legend.png').is_file()

    (inputs / 'bad.png').write_bytes(b'no image')
    assert lemore(*arguments).fails('bad.png is no readable image', status=3)
