from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from lemore_core.checkpoint import read_card
from lemore_core.cli.main import main
from lemore_core.data.readers import read_ids
from lemore_core.distill import DistillError, DistillRun, Teacher
from lemore_core.evaluation.strategies import AveragedViews, Views
from lemore_core.images.files import read_image
from lemore_core.taxonomy import load_taxonomy

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


@pytest.fixture
def halves(tmp_path: Path) -> str:
    return groups(tmp_path / 'halves.yaml', first=list(CLASSES[:5]), second=list(CLASSES[5:]))


def test_labels_are_the_mean_of_views_in_groups_where_the_teacher_is_sure(
    untrained_checkpoint: Path, tmp_path: Path, halves: str
) -> None:
    run = DistillRun(untrained_checkpoint, (), tmp_path, classes=halves, min_probability=0.6)
    teacher = Teacher(run)
    rgb = np.ascontiguousarray(blocks(0)[..., ::-1])
    views = [
        AveragedViews(teacher.segmenter, Views(window=window, flip=True)).probabilities(rgb)
        for window in (None, (64, 86))
    ]
    first = (sum(views) / 2)[..., :5].sum(-1)
    expected = np.where(first > 0.5, 0, 1)
    expected[np.maximum(first, 1 - first) < 0.6] = 255
    labels = teacher.label(rgb)
    assert 0 < (labels == 255).mean() < 1
    clear = np.abs(np.maximum(first, 1 - first) - 0.6) > 1e-4  # rounding decides the others
    assert np.array_equal(labels[clear], expected[clear])
    # what is too large for the memory is labelled at a smaller size
    large = np.zeros((300, 1200, 3), np.uint8)
    assert teacher.label(large).shape == (300, 1200)


def test_a_teacher_that_says_one_thing_or_nothing_is_refused(
    untrained_checkpoint: Path, tmp_path: Path
) -> None:
    one = groups(tmp_path / 'one.yaml', all=list(CLASSES), none=[])
    counts = np.zeros(256, np.int64)
    counts[[0, 255]] = 99, 1
    with pytest.raises(DistillError, match=r"calls 100\.0% of the pixels 'all'"):
        Teacher(DistillRun(untrained_checkpoint, (), tmp_path, classes=one)).require_use(counts)
    counts[[0, 1, 255]] = 2, 2, 96
    with pytest.raises(DistillError, match=r'is sure of 4\.0% of the pixels'):
        Teacher(DistillRun(untrained_checkpoint, (), tmp_path)).require_use(counts)
    with pytest.raises(DistillError, match=r'scales is \(0.5,\), allowed'):
        DistillRun(untrained_checkpoint, (), tmp_path, scales=(0.5,))


def test_distil_from_folders_to_a_report_in_stages(
    untrained_checkpoint: Path,
    tmp_path: Path,
    halves: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip('bokeh')
    for drive in (1, 2, 3):
        write(tmp_path / 'in', **{f'd{drive}_{i}': blocks(10 * drive + i) for i in range(3)})
    (tmp_path / 'in' / 'd3_3.png').write_bytes(b'no image')
    output = tmp_path / 'out'
    steps = ['batch=2', 'iterations=2', 'validate_every=2', 'save_every=1', 'warmup=0']
    base = ['distill', str(tmp_path / 'in'), '--teacher', str(untrained_checkpoint)]
    base += ['-o', str(output), '--scales', '1', '--no-flip', '--accelerator', 'cpu']
    base += ['--min-probability', '0.3', '--workers', '0', '--set', *steps]
    base += ['height=64', 'width=96']

    # a file is in the way of the masks
    output.mkdir()
    (output / 'labels').touch()
    assert main([*base, '--classes', halves]) == 1
    printed = capsys.readouterr()
    assert 'finished files are kept: run the same command to continue' in printed.err
    assert 'd3_3.png is no readable image' in printed.out
    (output / 'labels').unlink()
    taken = output / 'frames' / 'd1' / 'd1_000000.png'
    assert taken.read_bytes() == (tmp_path / 'in' / 'd1_0.png').read_bytes()

    assert main([*base, '--classes', halves]) == 0
    printed = capsys.readouterr()
    assert 'first ' in printed.out
    assert f'--model {output / "training" / "last.safetensors"}' in printed.out
    card = read_card(output / 'training' / 'last.safetensors')
    assert card.taxonomy.classes == ('first', 'second')
    assert (card.config.height, card.config.width) == (64, 96)
    assert card.training['recipe']['resize'] == [96, 64]
    held = sorted(path.stem for path in (output / 'data' / 'images' / 'val').iterdir())
    assert held == ['d3_000000', 'd3_000001', 'd3_000002']
    mask = read_ids(output / 'data' / 'masks' / 'train' / 'd1_000000.png', card.taxonomy)
    teacher = Teacher(
        DistillRun(
            untrained_checkpoint,
            (),
            output,
            classes=halves,
            scales=(1.0,),
            flip=False,
            min_probability=0.3,
        )
    )
    assert np.array_equal(mask, teacher.label(read_image(taken)))
    page = (output / 'report.html').read_text(encoding='utf-8')
    assert [text in page for text in ('<span>teacher</span>', 'ground truth')] == [True, False]

    # nothing is done again: not even a mask that a user has corrected
    def stamps() -> dict[Path, int]:
        made = ('plan.json', 'report.html')
        return {p: p.stat().st_mtime_ns for p in output.rglob('*.*') if p.name not in made}

    before = stamps()
    assert main([*base, '--classes', halves]) == 0
    assert stamps() == before

    # other labels need another network
    capsys.readouterr()
    stale = [str(output / name) for name in ('labels', 'data', 'training')]
    assert main(base) == 1
    assert f'delete {" and ".join(stale)}, with the masks' in capsys.readouterr().err
    for options, kept in ((['--hold-out', 'd1'], 2), (['--model', 'tiny'], 1)):
        assert main([*base, '--classes', halves, *options]) == 1
        assert f'delete {" and ".join(stale[-kept:])}, with' in capsys.readouterr().err
    assert stamps() == before
    for options, message in (
        (['--hold-out', 'd9'], 'd9 cannot be held out of the drives d1, d2, d3'),
        (['--every', '2'], f'{output} holds frames of other inputs'),
    ):
        assert main([*base, '--classes', halves, *options]) == 1
        assert message in capsys.readouterr().err
    (output / 'plan.json').write_text('[' * 10**5)
    assert main([*base, '--classes', halves]) == 1
    assert f'delete {output / "frames"} and ' in capsys.readouterr().err


def test_of_a_single_drive_the_end_is_held_out(
    untrained_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / 'in', x_1=blocks(1))
    command = ['distill', str(tmp_path / 'in'), '--teacher', str(untrained_checkpoint), '-o']
    assert main([*command, str(tmp_path / 'one')]) == 1
    assert 'there is only one image' in capsys.readouterr().err
    write(tmp_path / 'in', x_2=blocks(2))
    (tmp_path / 'two').mkdir()
    (tmp_path / 'two' / 'labels').touch()
    assert main([*command, str(tmp_path / 'two')]) == 1
    assert 'there is only in: its end is held out' in capsys.readouterr().out
    assert main(['distill', '0', *command[2:], str(tmp_path / 'camera')]) == 1
    assert 'camera0 has no end' in capsys.readouterr().err
