from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from lemore_core.model.cartesian_encoder import (
    AxisMixing,
    CartesianEncoder,
    SeparableDepthwise,
    resample_axis_weight,
)
from lemore_core.model.gated_fusion import GatedFusion
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.nested_attention import NestedAttention
from lemore_core.model.variants import ConfigError, LeMoReConfig, StageConfig, variant


@pytest.mark.parametrize('axis', ['width', 'height'])
def test_axis_mixing_is_a_1x1_convolution_over_that_axis(axis: str) -> None:
    x = torch.randn(2, 5, 6, 7)
    mixing = AxisMixing(axis, 7 if axis == 'width' else 6)
    order = (0, 3, 1, 2) if axis == 'width' else (0, 2, 1, 3)
    channels_are_axis = x.permute(order)
    expected = functional.conv2d(channels_are_axis, mixing.weight[:, :, None, None])
    back = torch.argsort(torch.tensor(order)).tolist()
    torch.testing.assert_close(mixing(x), expected.permute(back))


def test_a_resampled_axis_weight_does_to_a_resampled_row_what_it_did() -> None:
    def resize(row: torch.Tensor, size: int) -> torch.Tensor:
        return functional.interpolate(row[None, None], size=size, mode='linear')[0, 0]

    n = torch.arange(64) / 64
    weight = torch.sin(3 * n[:, None]) * torch.cos(2 * n[None, :]) / 64
    row = torch.sin(4 * n) + n
    expected = resize(weight @ row, 48)
    found = resample_axis_weight(weight, 48) @ resize(row, 48)
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.002)


@pytest.mark.parametrize('size', [(64, 96), (72, 104), (120, 88)])
def test_another_input_size_gives_what_the_resized_network_gives(size: tuple[int, int]) -> None:
    network = LeMoRe(variant('nano', classes=5, height=96, width=128)).eval()
    x = torch.randn(1, 3, *size)
    resized = network.resized(*size)
    with torch.no_grad():
        torch.testing.assert_close(network(x), resized(x), rtol=1e-3, atol=1e-4)
    assert resized.stem[0][0].weight.data_ptr() == network.stem[0][0].weight.data_ptr()
    assert not resized.training


def test_an_axis_weight_learns_from_features_of_another_size() -> None:
    mixing = AxisMixing('width', 12)
    mixing(torch.randn(1, 3, 4, 9)).square().sum().backward()
    assert mixing.weight.grad is not None
    assert mixing.weight.grad.abs().sum(1).min() > 0


def test_views_are_summed_before_the_depthwise_mixing() -> None:
    encoder = CartesianEncoder(4, 6, 8, channel_attention=False).eval()
    x = torch.randn(1, 4, 6, 8)
    views = encoder.transverse(x) + encoder.frontal(x) + encoder.lateral(x)
    torch.testing.assert_close(encoder(x), x + encoder.mixing(views))


def test_the_depthwise_pairs_span_three_and_five_pixels() -> None:
    mixing = SeparableDepthwise(1).eval()
    for module in mixing:
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.ones_(module.weight)
    x = torch.zeros(1, 1, 11, 11)
    x[..., 5, 5] = 1.0
    # 3 from the first pair, and 2 * 2 more from the dilated one
    assert int((mixing(x) > 0).any(dim=-1).sum()) == 7


def test_nested_attention_is_the_mean_of_nine_softmaxed_maps() -> None:
    torch.manual_seed(1)
    attention = NestedAttention(12, heads=2, key_dim=4, value_dim=3).eval()
    x = torch.randn(1, 12, 2, 3)
    tokens = 6
    total = torch.zeros(2, tokens, tokens)
    for query in attention.queries:
        for key in attention.keys:
            q = query(x).reshape(2, 4, tokens)
            k = key(x).reshape(2, 4, tokens)
            for head in range(2):
                total[head] += torch.softmax(q[head].T @ k[head] / 2.0, dim=-1)
    value = sum(p(x) for p in attention.values).reshape(2, 3, tokens)
    attended = torch.stack([(total[h] / 9) @ value[h].T for h in range(2)])  # (heads, hw, value)
    attended = attended.permute(0, 2, 1).reshape(1, 6, 2, 3)
    expected = attention.output(torch.clamp(attended, 0, 6))
    torch.testing.assert_close(attention(x), expected)


def test_a_closed_gate_leaves_the_injected_globals() -> None:
    fusion = GatedFusion(3, 5).eval()
    torch.nn.init.constant_(fusion.gate[1].bias, -1e4)
    local, share = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 2, 2)
    injected = functional.interpolate(fusion.inject(share), size=(8, 8), mode='bilinear')
    torch.testing.assert_close(fusion(local, share), injected)


@pytest.mark.parametrize('size', [(64, 64), (96, 160), (90, 122), (360, 480), (97, 33)])
@pytest.mark.parametrize('fusion_at_head', [False, True])
def test_logits_stand_at_an_eighth_of_any_input(
    size: tuple[int, int], fusion_at_head: bool
) -> None:
    height, width = size
    config = variant('nano', classes=7, height=height, width=width, fusion_at_head=fusion_at_head)
    logits = LeMoRe(config).eval()(torch.randn(1, 3, *size))
    expected = tuple(-(-side // 8) for side in size)
    assert tuple(logits.shape) == (1, 7, *expected) == (1, 7, *config.logit_size)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'width': 10**9}, 'width is 1000000000'),
        ({'stages': []}, 'stages has 0 entries'),
        ({'transverse': False, 'frontal': False, 'lateral': False}, 'needs one view'),
    ],
)
def test_a_wrong_configuration_is_named(change: dict[str, object], message: str) -> None:
    values = variant('tiny', classes=11).to_dict() | change
    with pytest.raises(ConfigError, match=message):
        LeMoReConfig.from_dict(values)


def test_an_unknown_variant_is_named() -> None:
    with pytest.raises(ConfigError, match="'huge', there are nano, tiny, small, base"):
        variant('huge', classes=11)
    with pytest.raises(ConfigError, match='differ in length'):
        StageConfig(channels=8, expansions=(4, 3), kernels=(3,), encoders=1)
