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
    random = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(random, (128, 96), interpolation=cv2.INTER_NEAREST), np.uint8)


def write(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        cv2.imwrite(str(folder / f'{name}.png'), blocks(seed))


@pytest.fixture
def halves(tmp_path: Path) -> str:
    """Groups of the first and of the second half of the classes."""
    rows = [
        {'name': name, 'color': [9, 9, len(name)], 'classes': list(classes)}
        for name, classes in (('first', CLASSES[:5]), ('second', CLASSES[5:]))
    ]
    path = tmp_path / 'halves.yaml'
    path.write_text(yaml.safe_dump({'name': 'halves', 'groups': rows}))
    return str(path)


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
    # an image too large for the memory is labelled at a smaller size
    assert teacher.label(np.zeros((300, 1200, 3), np.uint8)).shape == (300, 1200)


@pytest.mark.parametrize(
    ('counts', 'message'),
    [
        ({0: 199, 1: 1}, r"calls 99\.5% of the pixels 'first'"),
        ({0: 2, 1: 2, 255: 96}, r'is sure of 4\.0% of the pixels'),
    ],
)
def test_a_teacher_that_says_one_thing_or_nothing_is_refused(
    untrained_checkpoint: Path, tmp_path: Path, halves: str, counts: dict[int, int], message: str
) -> None:
    teacher = Teacher(DistillRun(untrained_checkpoint, (), tmp_path, classes=halves))
    pixels = np.zeros(256, np.int64)
    pixels[list(counts)] = list(counts.values())
    with pytest.raises(DistillError, match=message):
        teacher.require_use(pixels)


def test_distil_from_folders_to_a_report_in_stages(
    untrained_checkpoint: Path, tmp_path: Path, halves: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('bokeh')
    write(tmp_path / 'in', *(f'd{drive}_{i}' for drive in (1, 2, 3) for i in range(3)))
    (tmp_path / 'in' / 'd3_3.png').write_bytes(b'no image')
    output = tmp_path / 'out'
    frames, labels, data, training = (
        output / name for name in ('frames', 'labels', 'data', 'training')
    )
    base = ['distill', str(tmp_path / 'in'), '--teacher', str(untrained_checkpoint)]
    base += ['-o', str(output), '--scales', '1', '--no-flip', '--accelerator', 'cpu']
    base += ['--min-probability', '0.3', '--workers', '0', '--set', 'batch=2', 'iterations=2']
    base += ['validate_every=2', 'save_every=1', 'warmup=0', 'height=64', 'width=96']

    def run(*options: str, classes: str = halves) -> tuple[int, str, str]:
        return main([*base, '--classes', classes, *options]), *capsys.readouterr()

    # a file is in the way of the masks
    output.mkdir()
    labels.touch()
    status, out, err = run()
    assert status == 1
    assert 'finished files are kept: run the same command to continue' in err
    assert 'd3_3.png is no readable image' in out
    labels.unlink()
    taken = frames / 'd1' / 'd1_000000.png'
    assert taken.read_bytes() == (tmp_path / 'in' / 'd1_0.png').read_bytes()

    status, out, _ = run()
    assert status == 0
    assert f'--model {training / "last.safetensors"}' in out
    card = read_card(training / 'last.safetensors')
    assert card.taxonomy.classes == ('first', 'second')
    assert card.training['recipe']['resize'] == [96, 64]
    held = sorted(path.stem for path in (data / 'images' / 'val').iterdir())
    assert held == ['d3_000000', 'd3_000001', 'd3_000002']
    same = {'scales': (1.0,), 'flip': False, 'min_probability': 0.3, 'classes': halves}
    teacher = Teacher(DistillRun(untrained_checkpoint, (), output, **same))
    mask = read_ids(data / 'masks' / 'train' / 'd1_000000.png', card.taxonomy)
    assert np.array_equal(mask, teacher.label(read_image(taken)))
    assert 'ground truth' not in (output / 'report.html').read_text(encoding='utf-8')

    # nothing is done again: masks may have been corrected
    def stamps() -> dict[Path, int]:
        made = ('plan.json', 'report.html')
        return {p: p.stat().st_mtime_ns for p in output.rglob('*.*') if p.name not in made}

    before = stamps()
    assert run()[0] == 0
    for options, classes, stale in (
        (['--every', '2'], halves, [frames, labels, data, training]),
        ([], '', [labels, data, training]),
        (['--hold-out', 'd1'], halves, [data, training]),
        (['--model', 'tiny'], halves, [training]),
    ):
        status, _, err = run(*options, classes=classes)
        assert status == 1
        assert f'delete {" and ".join(map(str, stale))}, with the masks' in err
    assert 'd9 cannot be held out of the drives d1, d2, d3' in run('--hold-out', 'd9')[2]
    (output / 'plan.json').write_text('[' * 10**5)
    assert f'delete {frames} and ' in run()[2]
    assert stamps() == before


def test_of_a_single_drive_the_end_is_held_out(
    untrained_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ['--teacher', str(untrained_checkpoint), '-o', str(tmp_path / 'out')]
    write(tmp_path / 'one', 'x_1')
    assert main(['distill', str(tmp_path / 'one'), *options]) == 1
    assert 'there is only one image' in capsys.readouterr().err
    write(tmp_path / 'two', 'x_1', 'x_2')
    (tmp_path / 'out' / 'labels').touch()
    assert main(['distill', str(tmp_path / 'two'), *options]) == 1
    assert 'there is only two: its end is held out' in capsys.readouterr().out
    assert main(['distill', '0', *options]) == 1
    assert 'camera0 has no end' in capsys.readouterr().err
