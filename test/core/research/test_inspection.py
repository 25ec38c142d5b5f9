from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from lemore_core import checkpoint
from lemore_core.checkpoint import CheckpointError, ModelCard
from lemore_core.cli.main import main
from lemore_core.image import PixelError
from lemore_core.model.cartesian_encoder import AxisMixing
from lemore_core.model.gated_fusion import GatedFusion
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.nested_attention import NestedAttention
from lemore_core.model.variants import variant
from lemore_core.research.inspection import (
    ImplicitMaps,
    Inspection,
    InspectionError,
    inspect_image,
    read_image,
    write_sheets,
)
from lemore_core.research.inspection.sheets import Panel, compose, fit, heat_over, signed
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import load_taxonomy

VIEWS = ['transverse', 'frontal', 'lateral']
SHEETS = {
    'image.png',
    'explicit_views.png',
    'implicit_maps.png',
    'attention_received.png',
    'gates.png',
}


@pytest.fixture(scope='module')
def image() -> NDArray[np.uint8]:
    """Twice as large as the network's input, of its aspect."""
    return np.random.default_rng(0).integers(0, 256, (192, 256, 3), np.uint8)


@pytest.fixture(scope='module')
def inspection(untrained_checkpoint: Path, image: NDArray[np.uint8]) -> Inspection:
    return inspect_image(untrained_checkpoint, image)


def saved(path: Path, model: LeMoRe) -> Path:
    taxonomy = load_taxonomy('camvid')
    card = ModelCard(name='probe', config=model.config, taxonomy=taxonomy, licence='none')
    checkpoint.save(path, card, model.state_dict())
    return path


def network(**switches: bool) -> LeMoRe:
    torch.manual_seed(0)
    return LeMoRe(variant('nano', classes=11, height=96, width=128, **switches))


def test_every_encoder_shows_its_views_at_its_resolution(inspection: Inspection) -> None:
    sizes = {views.name: views.energies['transverse'].shape for views in inspection.encoders}
    assert sizes == {
        '1.1': (24, 32),
        '2.1': (12, 16),
        '3.1': (6, 8),
        '3.2': (6, 8),
        '4.1': (3, 4),
        '4.2': (3, 4),
    }
    for views in inspection.encoders:
        assert list(views.energies) == VIEWS
        height, width = sizes[views.name]
        assert views.mixing['frontal'].shape == (width, width)
        assert views.mixing['lateral'].shape == (height, height)
        assert {energy.dtype for energy in views.energies.values()} == {np.dtype(np.float32)}
        assert sum(views.strengths.values()) == pytest.approx(1)


def run_with_hook(path: Path, image: NDArray[np.uint8], module: str) -> tuple[LeMoRe, Tensor]:
    """Return the checkpoint's network and what goes into one of its modules for an image."""
    card, model = checkpoint.load(path)
    small = cv2.resize(image, (128, 96), interpolation=cv2.INTER_AREA)
    pixels = torch.from_numpy(small).permute(2, 0, 1)[None].float()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (card.mean, card.std))
    entered = []
    model.get_submodule(module).register_forward_hook(lambda _, args, __: entered.append(args[0]))
    with torch.inference_mode():
        model((pixels - mean) / std)
    return model, entered[0]


def test_energy_is_the_mean_absolute_response(
    untrained_checkpoint: Path, image: NDArray[np.uint8]
) -> None:
    (views,) = inspect_image(untrained_checkpoint, image, encoder='2.1').encoders
    assert views.name == '2.1'
    _, features = run_with_hook(untrained_checkpoint, image, 'stages.1.2')
    for view, product in (('frontal', 'ij,cyj->cyi'), ('lateral', 'ij,cjx->cix')):
        weight = torch.from_numpy(views.mixing[view])
        expected = torch.einsum(product, weight, features[0]).abs().mean(0)
        np.testing.assert_allclose(views.energies[view], expected, rtol=1e-4, atol=1e-5)


def test_attention_rows_sum_to_one_and_psi_is_the_mean_of_nine(inspection: Inspection) -> None:
    assert [block.block for block in inspection.blocks] == [1, 2]
    for block in inspection.blocks:
        assert block.grid == (2, 2)
        assert block.maps.shape == (3, 3, 4, 4)
        np.testing.assert_allclose(block.maps.sum(-1), 1, rtol=1e-5)
        np.testing.assert_allclose(block.psi, block.maps.reshape(9, 4, 4).mean(0), rtol=1e-6)
        assert block.received().shape == (3, 3, 2, 2)
        np.testing.assert_allclose(block.received().sum((2, 3)), 1, rtol=1e-5)


def test_a_token_sees_along_its_own_row_of_the_maps() -> None:
    maps = np.zeros((3, 3, 6, 6), np.float32)
    # the token in row 1, column 0 looks at the one in row 0, column 2; the others at the first
    maps[..., 0] = 1
    maps[1, 2, 3] = (0, 0, 1, 0, 0, 0)
    block = ImplicitMaps(1, (2, 3), maps)
    assert block.seen_from((1, 0))[1, 2].tolist() == [[0, 0, 1], [0, 0, 0]]
    assert block.seen_from((1, 1))[1, 2].tolist() == [[1, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(block.received()[1, 2], [[5 / 6, 0, 1 / 6], [0, 0, 0]], rtol=1e-6)


def test_maps_are_those_of_the_run_averaged_over_heads(
    untrained_checkpoint: Path, image: NDArray[np.uint8]
) -> None:
    (block,) = inspect_image(untrained_checkpoint, image, block=2).blocks
    assert block.block == 2
    model, tokens = run_with_hook(untrained_checkpoint, image, 'bottleneck.1.attention')
    attention = model.get_submodule('bottleneck.1.attention')
    assert isinstance(attention, NestedAttention)
    with torch.inference_mode():
        query = attention.queries[0](tokens).reshape(4, 16, 4)
        key = attention.keys[2](tokens).reshape(4, 16, 4)
        heads = [torch.softmax(q.T @ k / 4, dim=1) for q, k in zip(query, key, strict=True)]
    np.testing.assert_allclose(block.maps[0, 2], torch.stack(heads).mean(0), rtol=1e-4, atol=1e-6)


def test_gates_are_open_as_far_as_their_sigmoid_says(
    tmp_path: Path, image: NDArray[np.uint8]
) -> None:
    model = network()
    with torch.no_grad():
        for index, fusion in enumerate(model.fusions):
            assert isinstance(fusion, GatedFusion)
            conv, norm = fusion.gate
            conv.weight.zero_()
            norm.bias.fill_(index - 1.0)
    gates = inspect_image(saved(tmp_path / 'm.safetensors', model), image).gates
    assert [gate.shape for gate in gates] == [(2, 2)] * 4
    expected = 1 / (1 + np.exp(-np.arange(-1.0, 3.0)))
    np.testing.assert_allclose([gate[0, 0] for gate in gates], expected, rtol=1e-6)


def test_a_view_of_zero_weights_has_no_energy(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    model = network()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, AxisMixing) and module.axis == 'height':
                module.weight.zero_()
    seen = inspect_image(saved(tmp_path / 'm.safetensors', model), image)
    for views in seen.encoders:
        assert not views.energies['lateral'].any()
        assert views.strengths['lateral'] == 0
        assert views.strengths['frontal'] > 0
    assert len(write_sheets(seen, tmp_path)) == len(SHEETS)


@pytest.mark.parametrize('view', VIEWS)
def test_a_view_switched_off_is_left_out_and_said(
    view: str, tmp_path: Path, image: NDArray[np.uint8]
) -> None:
    path = saved(tmp_path / 'm.safetensors', network(**{view: False}))
    seen = inspect_image(path, image)
    assert seen.missing == (f'{view} view',)
    for views in seen.encoders:
        assert list(views.energies) == [v for v in VIEWS if v != view]
        assert view not in views.mixing
    assert {path.name for path in write_sheets(seen, tmp_path)} == SHEETS


def test_a_network_without_attention_has_no_implicit_maps(
    tmp_path: Path, image: NDArray[np.uint8]
) -> None:
    model = network(nested_attention=False, channel_attention=False, frontal=False, lateral=False)
    path = saved(tmp_path / 'm.safetensors', model)
    seen = inspect_image(path, image)
    assert seen.blocks == ()
    assert seen.missing == (
        'frontal view',
        'lateral view',
        'channel attention',
        'nested attention',
    )
    written = {path.name for path in write_sheets(seen, tmp_path / 'out')}
    assert written == {'image.png', 'explicit_views.png', 'gates.png'}
    with pytest.raises(InspectionError, match='no block 1 with nested attention, there are: none'):
        inspect_image(path, image, block=1)


def test_a_network_without_encoders_says_so(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    config = network().config
    stages = tuple(dataclasses.replace(stage, encoders=0) for stage in config.stages)
    model = LeMoRe(dataclasses.replace(config, stages=stages))
    seen = inspect_image(saved(tmp_path / 'm.safetensors', model), image)
    assert (seen.encoders, seen.missing) == ((), ('Cartesian encoders',))
    written = {path.name for path in write_sheets(seen, tmp_path / 'out')}
    assert written == SHEETS - {'explicit_views.png'}


@pytest.mark.parametrize(
    ('point', 'token'),
    [
        ((0, 0), (0, 0)),
        ((319, 0), (0, 4)),
        ((0, 191), (2, 0)),
        ((319, 191), (2, 4)),
        ((64, 63), (0, 1)),
        (None, (1, 2)),
    ],
)
def test_a_point_lies_in_its_token(
    untrained_checkpoint: Path, point: tuple[int, int] | None, token: tuple[int, int]
) -> None:
    image = np.zeros((192, 320, 3), np.uint8)
    seen = inspect_image(untrained_checkpoint, image, point=point, network_size=(192, 320))
    assert seen.network_size == (192, 320)
    assert (seen.blocks[0].grid, seen.token) == ((3, 5), token)
    assert seen.point == (point or (160, 96))


def test_labels_are_those_of_the_segmenter(
    untrained_checkpoint: Path, inspection: Inspection, image: NDArray[np.uint8]
) -> None:
    segmenter = Segmenter.load(untrained_checkpoint, backend='torch', device='cpu')
    assert np.array_equal(inspection.labels, segmenter.segment(image, 'rgb8').labels)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'point': (256, 0)}, 'the point 256 0 lies outside the image: x is 0 to 255'),
        ({'point': (0, -1)}, 'the point 0 -1 lies outside'),
        ({'encoder': '5.1'}, r"no encoder is called '5.1', there are: 1.1, 2.1, 3.1, 3.2, 4.1"),
        ({'block': 3}, 'no block 3 with nested attention, there are: 1, 2'),
    ],
)
def test_what_is_not_there_is_named(
    untrained_checkpoint: Path,
    image: NDArray[np.uint8],
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(InspectionError, match=message):
        inspect_image(untrained_checkpoint, image, **options)


def test_files_that_cannot_be_inspected_are_named(
    untrained_checkpoint: Path, image: NDArray[np.uint8], tmp_path: Path
) -> None:
    with pytest.raises(InspectionError, match=r'served\.onnx holds a graph without named parts'):
        inspect_image(Path('served.onnx'), image)
    with pytest.raises(CheckpointError, match=r'no checkpoint gone\.safetensors'):
        inspect_image(Path('gone.safetensors'), image)
    with pytest.raises(CheckpointError, match='11 classes'):
        inspect_image(untrained_checkpoint, image, taxonomy=load_taxonomy('cityscapes'))
    with pytest.raises(PixelError, match='shape'):
        inspect_image(untrained_checkpoint, image[..., 0])
    with pytest.raises(InspectionError, match=r'there is no image gone\.png'):
        read_image(Path('gone.png'))
    (tmp_path / 'text.png').write_text('no image')
    with pytest.raises(InspectionError, match=r'text\.png is no readable image'):
        read_image(tmp_path / 'text.png')


@pytest.mark.parametrize('cells', [False, True])
def test_the_hot_spot_lies_where_the_value_is(cells: bool) -> None:
    values = np.zeros((3, 4), np.float32)
    values[2, 1] = 5
    heat = heat_over(np.zeros((90, 160, 3), np.uint8), values, 0, 5, cells=cells)
    assert heat.shape == (90, 160, 3)
    # viridis ends in yellow, and nothing else of it is as bright
    y, x = np.unravel_index(heat.astype(int).sum(2).argmax(), (90, 160))
    assert (y * 3 // 90, x * 4 // 160) == (2, 1)


def test_signed_colors_tell_the_sign() -> None:
    negative, zero, positive = signed(np.array([[-1, 0, 1]], np.float32), 1)[0].tolist()
    assert negative[2] > negative[0]
    assert positive[0] > positive[2]
    assert min(zero) > 240
    assert (signed(np.zeros((2, 2), np.float32), 0) == zero).all()


def test_a_sheet_holds_all_of_its_panels() -> None:
    red = np.full((20, 30, 3), (255, 0, 0), np.uint8)
    sheet = compose('title', ['a line'], [[Panel(red, 'a')] * 3])
    assert (sheet == (255, 0, 0)).all(axis=2).sum() == 3 * red.shape[0] * red.shape[1]


def test_fitting_keeps_the_aspect() -> None:
    assert fit(np.zeros((50, 100, 3), np.uint8), 40).shape == (20, 40, 3)
    assert fit(np.zeros((3000, 2, 3), np.uint8), 40).shape == (40, 1, 3)
    cells = fit(np.array([[[0] * 3, [255] * 3]], np.uint8), 10, cells=True)
    assert cells[0, :, 0].tolist() == [0] * 5 + [255] * 5


def test_the_command_writes_its_sheets(
    untrained_checkpoint: Path,
    image: NDArray[np.uint8],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cv2.imwrite(str(tmp_path / 'street.png'), image)
    options = ['--model', str(untrained_checkpoint), '-o', str(tmp_path / 'out')]
    choice = ['--encoder', '3.2', '--block', '1', '--point', '10', '20']
    assert main(['research', 'inspect', str(tmp_path / 'street.png'), *options, *choice]) == 0
    out = capsys.readouterr().out
    assert 'encoder 3.2' in out
    assert 'encoder 3.1' not in out
    written = list((tmp_path / 'out').iterdir())
    assert {path.name for path in written} == SHEETS
    for path in written:
        assert str(path) in out
        assert cv2.imread(str(path)) is not None


def test_sheets_go_into_a_folder(inspection: Inspection, tmp_path: Path) -> None:
    with pytest.raises(InspectionError, match=r'sheet\.png is the name of a file'):
        write_sheets(inspection, tmp_path / 'sheet.png')
    (tmp_path / 'taken').touch()
    with pytest.raises(InspectionError, match='taken is the name of a file'):
        write_sheets(inspection, tmp_path / 'taken')


def test_the_command_names_its_errors(
    untrained_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ['--model', str(untrained_checkpoint), '-o', str(tmp_path / 'out')]
    assert main(['research', 'inspect', 'gone.png', *options]) == 1
    assert capsys.readouterr().err == 'lemore research: there is no image gone.png\n'
    assert not (tmp_path / 'out').exists()
