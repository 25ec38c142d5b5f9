from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from lemore_core.checkpoint import read_card
from lemore_core.data.origin import read_origin
from lemore_core.data.samples import read_ids, read_soft
from lemore_core.images.files import read_image
from lemore_core.taxonomy import load_groups, load_taxonomy
from lemore_core.teacher import Teacher, TeacherError, view_size

CLASSES = load_taxonomy('camvid').classes
CONFIG = Path(__file__).parents[2] / 'config' / 'distill'


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
    untrained_checkpoint: Path, halves: str
) -> None:
    teacher = Teacher(untrained_checkpoint, class_groups=halves, min_probability=0.6)
    rgb = np.ascontiguousarray(blocks(0)[..., ::-1])
    height, width = size = teacher.segmenter.network_size(*rgb.shape[:2])
    grid = height // 4, width // 4

    def first_half(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = torch.from_numpy(teacher.segmenter.logits(image, network_size=size))
        planes = functional.interpolate(logits.permute(2, 0, 1)[None], grid, mode='bilinear')
        return np.asarray(planes.softmax(1)[0, :5].sum(0).numpy())

    coarse = (first_half(rgb) + first_half(np.ascontiguousarray(rgb[:, ::-1]))[:, ::-1]) / 2
    first = cv2.resize(coarse, rgb.shape[1::-1])
    expected = np.where(first > 0.5, 0, 1)
    expected[np.maximum(first, 1 - first) < 0.6] = 255
    labels, soft = teacher.label(rgb)
    assert 0 < (labels == 255).mean() < 1
    clear = np.abs(np.maximum(first, 1 - first) - 0.6) > 1e-4  # rounding decides the others
    assert np.array_equal(labels[clear], expected[clear])
    # soft labels are at a quarter of the view's size, the likelier class first
    assert soft.shape == (2, 2, *grid)
    assert soft[1].sum(0).min() >= 254
    clear = np.abs(coarse - 0.5) > 1e-4
    assert np.array_equal(soft[0, 0][clear], np.where(coarse > 0.5, 0, 1)[clear])
    # an image too large for the memory is labelled at a smaller size
    assert teacher.label(np.zeros((300, 1200, 3), np.uint8))[0].shape == (300, 1200)


def red_green_blue(lemore: Any, path: Path, sides: tuple[object, object]) -> Path:
    """Write a network whose logits are the channels of every eighth pixel, as lemore import does."""
    nodes = [
        helper.make_node('AveragePool', ['x'], ['pool'], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node('Mul', ['pool', 'scale'], ['y']),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, *shape])
        for name, shape in (('x', sides), ('y', ('h8', 'w8')))
    ]
    scale = numpy_helper.from_array(np.array(4, np.float32), 'scale')
    graph = helper.make_graph(nodes, 'net', ports[:1], ports[1:], [scale])
    opsets = [helper.make_opsetid('', 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    colors = {'red': [255, 0, 0], 'green': [0, 255, 0], 'blue': [0, 0, 255]}
    classes = path.with_suffix('.yaml')
    rows = [{'name': name, 'color': color} for name, color in colors.items()]
    classes.write_text(yaml.safe_dump({'name': 'primary', 'classes': rows}))
    imported = path.with_name(f'imported_{path.name}')
    arguments = ['import', path, '--classes', classes, '--output', imported]
    assert lemore(*arguments, '--height', 64, '--width', 64, '--licence', 'MIT').status == 0
    return imported


def stripes(height: int, width: int) -> NDArray[np.uint8]:
    """Vertical stripes of red, green and blue, RGB."""
    image = np.full((height, width, 3), 20, np.uint8)
    for index in range(3):
        image[:, index * width // 3 : (index + 1) * width // 3, index] = 230
    return image


def test_a_teacher_of_open_sizes_sees_images_whole_and_enlarged(
    tmp_path: Path, lemore: Any
) -> None:
    assert view_size(960, (360, 480)) == ((704, 960), (180, 240))
    assert view_size(1280, (720, 1280)) == ((704, 1280), (180, 320))
    assert view_size(960, (1280, 720)) == ((1120, 608), (277, 156))  # the area of 960x720
    teacher = Teacher(red_green_blue(lemore, tmp_path / 'net.onnx', ('h', 'w')), sizes=(256, 128))
    mask, soft = teacher.label(stripes(48, 66))
    assert soft.shape == (2, 3, 23, 32)
    truth = stripes(48, 66).argmax(-1)
    assert (mask == truth)[mask != 255].mean() > 0.95
    assert (mask == 255).mean() < 0.2
    assert (soft[0, 0, :, 4], soft[0, 0, :, -4]) == (pytest.approx(0), pytest.approx(2))
    # a file that has one size
    nano = tmp_path / 'nano.onnx'
    assert lemore('export', '--model', 'nano', '--output', nano).status == 0
    with pytest.raises(TeacherError, match='leave --sizes out for a file that takes 480x360'):
        Teacher(nano, sizes=(128,)).label(stripes(48, 66))
    mask, soft = Teacher(nano).label(stripes(48, 66))
    assert (mask.shape, soft.shape) == ((48, 66), (2, 3, 90, 120))


@pytest.mark.parametrize(
    ('counts', 'message'),
    [
        ({0: 199, 1: 1}, r"calls 99\.5% of the pixels 'first'"),
        ({0: 2, 1: 2, 255: 96}, r'is sure of 4\.0% of the pixels'),
    ],
)
def test_a_teacher_that_says_one_thing_or_nothing_is_refused(
    untrained_checkpoint: Path, halves: str, counts: dict[int, int], message: str
) -> None:
    teacher = Teacher(untrained_checkpoint, class_groups=halves)
    pixels = np.zeros(256, np.int64)
    pixels[list(counts)] = list(counts.values())
    with pytest.raises(TeacherError, match=message):
        teacher.require_use(pixels)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that names a folder of three drives, with a large image and a broken one."""
    monkeypatch.setattr('lemore_core.distill.PROGRESS_SECONDS', 0.0)
    write(tmp_path / 'in', *(f'd{drive}_{i}' for drive in (1, 2, 3) for i in range(3)))
    (tmp_path / 'in' / 'd3_3.png').write_bytes(b'no image')
    cv2.imwrite(str(tmp_path / 'in' / 'd2_3.jpg'), stripes(1000, 2000))
    source = {'path': str(tmp_path / 'in'), 'licence': 'CC0', 'repository': 'me/x', 'commit': 'ca'}
    path = tmp_path / 'sources.yaml'
    path.write_text(yaml.safe_dump({'sources': [source]}))
    return path


def stamps(output: Path) -> dict[Path, int]:
    made = ('plan.json', 'report.html', 'origin.yaml')
    return {p: p.stat().st_mtime_ns for p in output.rglob('*.*') if p.name not in made}


TRAINING = [
    *('--accelerator', 'cpu', '--workers', '0', '--set', 'batch=2', 'iterations=2', 'save_every=1'),
    *('validate_every=2', 'warmup=0', 'height=64', 'width=96'),
]


def require_distilled(output: Path, out: str, teacher: Teacher, sources: object) -> None:
    """Labels are the teacher's, and the trained network says where it comes from."""
    data, last = output / 'data', output / 'training' / 'last.safetensors'
    assert re.search(rf'(?s)\n1 of \d+ images labelled\n.*--model {last}', out)
    card, name = read_card(last), teacher.segmenter.path.name
    assert card.taxonomy.classes == ('first', 'second')
    assert card.training['recipe']['resize'] == [96, 64]
    held = sorted(path.stem for path in (data / 'images' / 'val').iterdir())
    assert held == ['d3_000000', 'd3_000001', 'd3_000002']
    assert (card.training['sources'], card.training['teacher']['name']) == (sources, name)
    licence = f'{output.parent / "in"}: CC0; teacher {name}: {teacher.card.licence}'
    assert card.licence == licence
    mask = read_ids(data / 'masks' / 'train' / 'd1_000000.png', card.taxonomy)
    soft = read_soft(data / 'soft' / 'train' / 'd1_000000.npz', 2)
    expected = teacher.label(read_image(output / 'frames' / 'd1' / 'd1_000000.png'))
    assert np.array_equal(mask, expected[0])
    assert np.array_equal(soft, expected[1])
    assert 'split              for 3 images that were held out' in out
    speed = r'speed +[\d.]+ times that of the teacher: [\d.]+ ms .*(?s:.*)second +[\d.]+ +[\d.]+\n'
    assert re.search(speed, out)
    assert 'ground truth' not in (output / 'report.html').read_text(encoding='utf-8')


def test_distil_from_folders_to_a_report_in_stages(
    untrained_checkpoint: Path,
    tmp_path: Path,
    halves: str,
    sources: Path,
    lemore: Any,
) -> None:
    pytest.importorskip('bokeh')
    output = tmp_path / 'out'
    stages = [output / name for name in ('frames', 'labels', 'data', 'training')]
    frames, labels, *_ = stages
    run = partial(lemore, 'distill', *('--sources', sources, '--teacher', untrained_checkpoint))
    run = partial(run, *('-o', output, '--no-flip', '--min-probability', '0.3', *TRAINING))
    grouped = partial(run, '--classes', halves)

    # a file is in the way of the masks
    output.mkdir()
    labels.touch()
    done = grouped()
    assert done.fails('finished files are kept: run the same command to continue')
    assert 'd3_3.png is no readable image' in done.out
    assert 'd2: 1 of 2000x1000, stored with a long side of 1920' in done.out
    labels.unlink()
    taken = frames / 'd1' / 'd1_000000.png'
    assert taken.read_bytes() == (tmp_path / 'in' / 'd1_0.png').read_bytes()

    done = grouped()
    assert done.status == 0
    teacher = Teacher(untrained_checkpoint, flip=False, min_probability=0.3, class_groups=halves)
    require_distilled(output, done.out, teacher, yaml.safe_load(sources.read_text())['sources'])

    # nothing is done again: masks may have been corrected
    before = stamps(output)
    assert grouped().status == 0
    for again, first_stale in (
        (grouped('--every', '2'), 0),
        (run('--classes', ''), 1),
        (grouped('--hold-out', 'd1'), 2),
        (grouped('--model', 'tiny'), 3),
    ):
        stale = ' and '.join(map(str, stages[first_stale:]))
        assert again.fails(f'delete {stale}, with the masks')
    assert grouped('--hold-out', 'd9').fails('d9 cannot be held out: the drives are d1, d2, d3')
    (output / 'plan.json').write_text('[' * 10**5)
    assert grouped().fails(f'delete {frames} and ')
    assert stamps(output) == before
    sources.write_text('sources: [{path: gone}]')
    error = 'there is no file or folder gone, and it is no number of a camera'
    assert grouped()[::2] == (1, f'lemore distill: {error}\n')


def test_of_a_single_drive_the_end_is_held_out(
    untrained_checkpoint: Path, tmp_path: Path, lemore: Any
) -> None:
    options = ['--teacher', untrained_checkpoint, '-o', tmp_path / 'out']
    write(tmp_path / 'one', 'x_1')
    assert lemore('distill', tmp_path / 'one', *options).fails('there is only one image')
    write(tmp_path / 'two', 'x_1', 'x_2')
    (tmp_path / 'out' / 'labels').touch()
    done = lemore('distill', tmp_path / 'two', *options)
    assert done.fails()
    assert 'there is only two: its end is held out' in done.out
    assert lemore('distill', 0, *options).fails('camera0 has no end')


def test_frames_of_a_drive_have_the_numbers_of_their_order(
    untrained_checkpoint: Path, tmp_path: Path, lemore: Any
) -> None:
    write(tmp_path / 'in', *(f'd{drive}_{i}' for drive in (1, 2) for i in range(2)))
    sources = [{'path': str(tmp_path / 'in'), 'drive': 'x', 'licence': 'CC0'}]
    (tmp_path / 'sources.yaml').write_text(yaml.safe_dump({'sources': sources}))
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'labels').touch()
    options = ('--teacher', untrained_checkpoint, '-o', tmp_path / 'out')
    assert lemore('distill', '--sources', tmp_path / 'sources.yaml', *options).fails()
    taken = sorted(path.name for path in (tmp_path / 'out' / 'frames' / 'x').iterdir())
    assert taken == [f'x_{number:06}.png' for number in range(4)]


def test_what_is_shipped_for_streets_fits() -> None:
    groups = load_groups(str(CONFIG / 'cityscapes_camvid.yaml'), load_taxonomy('cityscapes'))
    assert groups.taxonomy.classes == CLASSES
    assert groups.taxonomy.colors == load_taxonomy('camvid').colors
    sources = [
        source
        for name in ('street', 'camvid_from_street')
        for source in read_origin(CONFIG / f'{name}.yaml').sources
    ]
    assert all(re.fullmatch('[0-9a-f]{40}', source.commit) for source in sources)
    assert 'val' not in {Path(one.path).name for one in sources if 'IDD' in one.path}
