from __future__ import annotations

import errno
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from lemore_core.checkpoint import read_card
from lemore_core.cli.main import main
from lemore_core.data.readers import read_ids
from lemore_core.distill import frames as frames_module
from lemore_core.distill import labels as labels_module
from lemore_core.distill.errors import DistillError
from lemore_core.distill.frames import FrameOptions, FrameStore
from lemore_core.distill.labels import LabelOptions, TeacherLabels
from lemore_core.distill.sources import open_sources
from lemore_core.evaluation.strategies import AveragedViews, Views
from lemore_core.images.video import VideoWriter
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import load_groups, load_taxonomy

CLASSES = load_taxonomy('camvid').classes


def blocks(seed: int) -> NDArray[np.uint8]:
    """An image that looks like no other."""
    random = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(random, (128, 96), interpolation=cv2.INTER_NEAREST), np.uint8)


def write(folder: Path, **images: NDArray[np.uint8]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        cv2.imwrite(str(folder / f'{name}.png'), image)


def groups(path: Path, **members: list[str]) -> str:
    rows = [
        {'name': name, 'color': [i, 9, 9], 'classes': classes}
        for i, (name, classes) in enumerate(members.items())
    ]
    path.write_text(yaml.safe_dump({'name': 'two', 'groups': rows}))
    return str(path)


@pytest.fixture(scope='module')
def teacher(untrained_checkpoint: Path) -> Segmenter:
    return Segmenter.load(untrained_checkpoint, backend='torch', device='cpu')


@pytest.fixture
def halves(tmp_path: Path) -> str:
    return groups(tmp_path / 'halves.yaml', first=list(CLASSES[:5]), second=list(CLASSES[5:]))


def test_drives_are_the_names_of_images_the_folder_or_the_video(tmp_path: Path) -> None:
    write(tmp_path / 'camvid', **{'0001TP_1': blocks(0), '0001TP_2': blocks(1), '06R_1': blocks(2)})
    write(tmp_path / 'my_orchard' / 'deep', frame_1=blocks(0), frame_2=blocks(1))
    with VideoWriter(tmp_path / 'my_clip.mp4') as video:
        for i in range(12):
            video.write(i * 10**8, blocks(i))
    inputs = [tmp_path / name for name in ('camvid', 'my_orchard', 'my_clip.mp4')]
    sources = open_sources(inputs)
    found = {source.drive: source.expected for source in sources}
    assert found == {'0001TP': 2, '06R': 1, 'my-orchard': 2, 'my-clip': 12}
    (tmp_path / 'empty').mkdir()
    for path, message in ((tmp_path / 'empty', 'holds no images'), (tmp_path / 'x', 'no file')):
        with pytest.raises(DistillError, match=message):
            open_sources([path])


def test_blurred_damaged_and_similar_images_are_left_out_and_nothing_is_read_twice(
    tmp_path: Path,
) -> None:
    sharp = {f'a{i}': blocks(i) for i in range(6)}
    similar = np.clip(blocks(5).astype(int) + 3, 0, 255).astype(np.uint8)
    blurred = np.asarray(cv2.GaussianBlur(blocks(9), (0, 0), 9), np.uint8)
    write(tmp_path / 'in', **sharp, b0=similar, b1=blurred)
    (tmp_path / 'in' / 'c.png').write_bytes(b'no image')
    before = sorted(path.name for path in (tmp_path / 'in').iterdir())
    seen: list[int] = []

    def take(**options: int) -> frames_module.Frames:
        store = FrameStore(tmp_path / 'out', FrameOptions(**options))
        return store.take(open_sources([tmp_path / 'in']), seen.append)

    found = take()
    assert [path.stem for path in found.images] == [f'in_{i:06}' for i in range(6)]
    assert found.images[0].read_bytes() == (tmp_path / 'in' / 'a0.png').read_bytes()
    reasons = {'nearly the same as another': 1, 'blurred': 1, 'unreadable': 1}
    assert found.left_out == reasons
    assert len(seen) == 9
    assert take() == found
    assert len(seen) == 9
    for damaged in ('[' * 10**5, '[]', '{"images": [1]}'):
        (tmp_path / 'out' / 'in' / 'frames.json').write_text(damaged)
        seen.clear()
        assert take() == found
        assert len(seen) == 9
    # the seventh is like the sixth, which is not among every second
    assert [path.stem for path in take(every=2).images] == [f'in_{i:06}' for i in (0, 2, 4, 6)]
    assert sorted(path.name for path in (tmp_path / 'in').iterdir()) == before


def test_labels_are_the_mean_of_views_in_groups_where_the_teacher_is_sure(
    teacher: Segmenter, tmp_path: Path, halves: str
) -> None:
    write(tmp_path, image=blocks(0))
    loaded = load_groups(halves, teacher.taxonomy)
    options = LabelOptions(scales=(1.0, 1.5), min_probability=0.6)
    labels = TeacherLabels(teacher, tmp_path / 'cache', options, loaded)
    path = labels.label(tmp_path / 'image.png')
    rgb = np.ascontiguousarray(blocks(0)[..., ::-1])
    views = [
        AveragedViews(teacher, Views(window=window, flip=True)).probabilities(rgb)
        for window in (None, (64, 86))
    ]
    first = (sum(views) / 2)[..., :5].sum(-1)
    expected = np.where(first > 0.5, 0, 1)
    expected[np.maximum(first, 1 - first) < 0.6] = 255
    mask = read_ids(path, loaded.taxonomy)
    assert 0 < (mask == 255).mean() < 1
    clear = np.abs(np.maximum(first, 1 - first) - 0.6) > 1e-4  # rounding decides the others
    assert np.array_equal(mask[clear], expected[clear])

    # found again, unless the image, the classes or the options are others
    changed = path.stat().st_mtime_ns
    assert labels.label(tmp_path / 'image.png') == path
    assert path.stat().st_mtime_ns == changed
    for other in (
        TeacherLabels(teacher, tmp_path / 'cache', LabelOptions(), loaded),
        TeacherLabels(teacher, tmp_path / 'cache', options),
    ):
        assert other.label(tmp_path / 'image.png') != path
    write(tmp_path, image=blocks(1))
    assert labels.label(tmp_path / 'image.png') != path


def test_a_teacher_that_says_one_thing_or_nothing_is_refused(
    teacher: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, image=blocks(0))
    image = [tmp_path / 'image.png']
    same = load_groups(groups(tmp_path / 'g.yaml', all=list(CLASSES), none=[]), teacher.taxonomy)
    options = LabelOptions(scales=(1.0,), flip=False)
    with pytest.raises(DistillError, match=r"calls 100\.0% of the pixels 'all'"):
        TeacherLabels(teacher, tmp_path / 'cache', options, same).label_all(image)
    # random weights are sure of much
    monkeypatch.setattr(labels_module, 'LEAST_LABELLED', 1.01)
    certain = LabelOptions(scales=(1.0,), flip=False, min_probability=0.9)
    with pytest.raises(DistillError, match=r'is sure of [\d.]+% of the pixels'):
        TeacherLabels(teacher, tmp_path / 'cache', certain).label_all(image)
    with pytest.raises(DistillError, match=r'scales is \(0.5,\), allowed'):
        LabelOptions(scales=(0.5,))


def test_distil_from_folders_to_a_report_in_stages(
    untrained_checkpoint: Path,
    tmp_path: Path,
    halves: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip('bokeh')
    for drive in (1, 2, 3):
        named = {f'd{drive}_{i}': blocks(10 * drive + i) for i in range(3)}
        write(tmp_path / 'in', **named)
    output = tmp_path / 'out'
    steps = ['batch=2', 'iterations=2', 'validate_every=2', 'save_every=1', 'warmup=0']
    sizes = ['height=64', 'width=96']
    base = ['distill', str(tmp_path / 'in'), '--teacher', str(untrained_checkpoint)]
    base += ['-o', str(output), '--scales', '1', '--no-flip', '--accelerator', 'cpu']
    base += ['--min-probability', '0.3', '--workers', '0', '--set', *steps, *sizes]

    # a disk that fills in the middle
    write_whole, written = frames_module.write_whole, []

    def full(path: Path, content: bytes | str) -> None:
        if len(written) == 4:
            raise OSError(errno.ENOSPC, 'No space left on device', str(path))
        written.append(path)
        write_whole(path, content)

    monkeypatch.setattr(frames_module, 'write_whole', full)
    assert main([*base, '--classes', halves]) == 1
    error = capsys.readouterr().err
    assert 'what is done is kept: the same command goes on' in error
    assert 'No space left on device: make room' in error
    monkeypatch.undo()

    assert main([*base, '--classes', halves]) == 0
    printed = capsys.readouterr().out
    assert 'first ' in printed
    assert f'--model {output / "training" / "last.safetensors"}' in printed
    card = read_card(output / 'training' / 'last.safetensors')
    assert card.taxonomy.classes == ('first', 'second')
    assert (card.config.height, card.config.width) == (64, 96)
    assert card.training['recipe']['resize'] == [96, 64]
    held = sorted(path.stem for path in (output / 'data' / 'images' / 'val').iterdir())
    assert held == ['d3_000000', 'd3_000001', 'd3_000002']
    page = (output / 'report.html').read_text(encoding='utf-8')
    assert [text in page for text in ('<span>teacher</span>', 'ground truth')] == [True, False]
    assert 'times as fast' in page

    # done again nothing is: not even a mask that a user has corrected
    kept = {
        path: path.stat().st_mtime_ns for path in output.rglob('*') if path.name != 'report.html'
    }
    assert main([*base, '--classes', halves]) == 0
    stamps = {path: path.stat().st_mtime_ns for path in kept if path.is_file()}
    assert stamps == {path: kept[path] for path in stamps}

    # other labels need another network; what was labelled stays
    capsys.readouterr()
    assert main(base) == 1
    assert f'delete {output / "data"} and {output / "training"}' in capsys.readouterr().err
    assert main([*base, '--hold-out', 'd9']) == 1
    assert 'd9 cannot be held out of the drives d1, d2, d3' in capsys.readouterr().err
    # of a single drive the end is held out; a large image is labelled at a size that fits memory
    write(
        tmp_path / 'one',
        **{f'x_{i}': np.kron(blocks(i), np.ones((9, 9, 1), np.uint8)) for i in range(2)},
    )
    single = ['distill', str(tmp_path / 'one'), *base[2:], '--classes', halves]
    single[single.index('-o') + 1] = str(tmp_path / 'single')
    assert main(single) == 0
    assert '1 to train, 1 held out' in (tmp_path / 'single' / 'report.html').read_text('utf-8')
    names = json.loads((output / 'frames' / 'd1' / 'frames.json').read_text())['images']
    assert names == ['d1_000000.png', 'd1_000001.png', 'd1_000002.png']
