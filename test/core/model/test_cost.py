"""The published columns: the paper's Table 2 and text, and the sizes of the specification."""

from __future__ import annotations

import pytest

from lemore_core.model.cost import measure_cost
from lemore_core.model.variants import variant

# frontal, lateral, channel attention, nested attention, GFLOPs, million parameters
TABLE_2 = [
    (False, False, False, False, 0.68, 1.12),
    (True, False, False, False, 0.74, 1.14),
    (True, True, False, False, 0.78, 1.16),
    (True, True, True, False, 0.79, 1.22),
    (False, False, False, True, 0.70, 1.50),
    (True, False, False, True, 0.76, 1.52),
    (True, True, False, True, 0.80, 1.54),
    (True, True, True, True, 0.81, 1.60),
]


@pytest.mark.parametrize(('frontal', 'lateral', 'ca', 'na', 'gflops', 'millions'), TABLE_2)
def test_the_rows_of_table_2(
    frontal: bool, lateral: bool, ca: bool, na: bool, gflops: float, millions: float
) -> None:
    parts = {'frontal': frontal, 'lateral': lateral}
    parts |= {'channel_attention': ca, 'nested_attention': na}
    cost = measure_cost(variant('tiny', classes=150, **parts))
    assert cost.parameters == pytest.approx(millions * 1e6, rel=0.015)
    assert cost.flops == pytest.approx(gflops * 1e9, rel=0.03)


@pytest.mark.parametrize(
    ('name', 'millions', 'gflops'),
    [
        ('nano', 0.378, 0.278),
        ('tiny', 1.603, 0.812),
        ('small', 3.381, 1.459),
        ('base', 5.611, 2.261),
    ],
)
def test_the_four_sizes(name: str, millions: float, gflops: float) -> None:
    cost = measure_cost(variant(name, classes=150))
    assert cost.parameters == pytest.approx(millions * 1e6, rel=0.01)
    assert cost.flops == pytest.approx(gflops * 1e9, rel=0.01)


@pytest.mark.parametrize(
    ('options', 'gflops'),
    [
        ({'classes': 150, 'height': 448, 'width': 448}, 0.613),
        ({'classes': 19, 'height': 512, 'width': 1024}, 1.579),
        ({'classes': 150, 'fusion_at_head': True}, 0.784),
    ],
)
def test_other_networks_of_the_size_tiny(options: dict[str, int], gflops: float) -> None:
    assert measure_cost(variant('tiny', **options)).flops == pytest.approx(gflops * 1e9, rel=0.01)
