from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional

from lemore_core import checkpoint
from lemore_core.checkpoint import ModelCard
from lemore_core.cli.main import main
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import variant
from lemore_core.taxonomy import load_taxonomy
from lemore_core.training.losses import distillation_loss
from lemore_core.training.teacher import Teacher, TeacherError

CLASSES = 11
MEAN, STD = torch.tensor(ModelCard.mean), torch.tensor(ModelCard.std)


def images(count: int = 2) -> tuple[Tensor, Tensor]:
    """Return RGB (N, 3, 64, 96) uint8, smooth enough to be resized, and the same normalised."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.randint(256, (count, 3, 8, 12), generator=random).float()
    pixels = functional.interpolate(coarse, (64, 96), mode='bilinear').round()
    normalised = (pixels - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    return pixels.to(torch.uint8), normalised


@pytest.fixture(scope='module')
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LeMoRe]:
    folder = tmp_path_factory.mktemp('teacher')
    source, path = folder / 'teacher.safetensors', folder / 'teacher.onnx'
    torch.manual_seed(0)
    config = variant('nano', classes=CLASSES, height=64, width=96)
    network = LeMoRe(config)
    nn.init.normal_(network.head[-1].weight, std=0.3)  # type: ignore[arg-type]
    card = ModelCard('lemore_nano_test', config, load_taxonomy('camvid'), 'none')
    checkpoint.save(source, card, network.state_dict())
    assert main(['export', '--model', str(source), '--output', str(path)]) == 0
    # the file holds the weights in half precision
    return path, checkpoint.load(source)[1]


def plain_onnx(path: Path, weight: np.ndarray, *, batch: int | str = 'n') -> Path:
    """Write a 1x1 convolution of normalised planes, the form that other exporters give."""
    node = helper.make_node('Conv', ['images', 'weight'], ['logits'])
    tensor = helper.make_tensor('weight', TensorProto.FLOAT, weight.shape, weight.ravel())
    shape_in, shape_out = [batch, 3, 'h', 'w'], [batch, len(weight), 'h', 'w']
    graph = helper.make_graph(
        [node],
        'plain',
        [helper.make_tensor_value_info('images', TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info('logits', TensorProto.FLOAT, shape_out)],
        [tensor],
    )
    opset = helper.make_opsetid('', 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def test_an_exported_checkpoint_gives_its_networks_logits(exported: tuple[Path, LeMoRe]) -> None:
    path, network = exported
    pixels, normalised = images()
    with torch.no_grad():
        expected = network(normalised)
    # the file takes one image at a time, and larger ones resized
    larger = pixels.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for given in (pixels, larger):
        logits = Teacher(path, CLASSES)(given, normalised)
        assert logits.shape == (2, CLASSES, 8, 12)
        assert torch.allclose(logits, expected, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize('batch', ['n', 1])
def test_a_plain_onnx_file_takes_normalised_planes(tmp_path: Path, batch: int | str) -> None:
    weight = np.random.default_rng(0).normal(size=(5, 3, 1, 1)).astype(np.float32)
    teacher = Teacher(plain_onnx(tmp_path / 'plain.onnx', weight, batch=batch), 5)
    pixels, normalised = images()
    expected = functional.conv2d(normalised, torch.from_numpy(weight))
    assert torch.allclose(teacher(pixels, normalised), expected, atol=1e-4)


def test_what_is_no_teacher_is_named(tmp_path: Path, exported: tuple[Path, LeMoRe]) -> None:
    (tmp_path / 'text.onnx').write_text('no network')
    for name in ('none.onnx', 'text.onnx'):
        with pytest.raises(TeacherError, match=rf'teacher .*{name} cannot be loaded'):
            Teacher(tmp_path / name, CLASSES)
    with pytest.raises(TeacherError, match='expected logits of 19 classes'):
        Teacher(exported[0], 19)(*images(1))


def test_the_loss_is_the_divergence_of_the_softened_probabilities() -> None:
    student, teacher = torch.randn(2, 4, 6, 8), torch.randn(2, 4, 6, 8)
    p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
    expected = (p * (p / q).log()).sum(1).mean() * 9
    assert float(distillation_loss(student, teacher, 3.0)) == pytest.approx(
        float(expected), rel=1e-4
    )
    # what softmax does not see is not learned
    assert float(distillation_loss(teacher + 3, teacher, 2.0)) == pytest.approx(0, abs=1e-5)
    coarse = torch.randn(2, 4, 3, 4)
    upsampled = functional.interpolate(coarse, (6, 8), mode='bilinear')
    assert distillation_loss(student, coarse, 3.0) == distillation_loss(student, upsampled, 3.0)
