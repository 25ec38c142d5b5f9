"""Rows to show."""

from __future__ import annotations

import pytest

from lemore_core.benchmark.cases import Skipped
from lemore_core.benchmark.decoding import DecodeRow
from lemore_core.benchmark.machine import Machine
from lemore_core.benchmark.memory import MemoryRow, Sample
from lemore_core.benchmark.networks import NetworkRow
from lemore_core.benchmark.peak import PeakRow
from lemore_core.benchmark.rate import RateRow
from lemore_core.benchmark.rows import Row
from lemore_core.benchmark.spread import Spread
from lemore_core.benchmark.steps import StepsRow


@pytest.fixture
def machine() -> Machine:
    return Machine('a processor', 2, 1, 0.5, '', 'Linux x86_64', '3.11', {'numpy': '2.0'})


@pytest.fixture
def rows() -> list[Row]:
    time = Spread(4.0, 5.0, 6.0)
    host = {'prepare': Spread(1.0, 1.5, 2.0), 'network': Spread(2.5, 3, 3.5), 'decode': time}
    on_host = ('tiny on the CPU', 'tiny', 'onnxruntime', 'cpu', 'fp32', '')
    on_gpu = ('tiny on the GPU', 'tiny', 'torch', 'cuda:0', 'fp16', '')
    rate = RateRow('tiny', 10.0, 10.0, 100, 98, 2, time, 0.5)
    return [
        StepsRow(*on_host, 1, '64x48', '64x64', 9, time, host, 250.0, 1.6, 300.0, None),
        StepsRow(*on_gpu, 4, '64x48', '64x64', 9, Spread(4.0), {}, 1000.0, None, 900.0, 50.0),
        NetworkRow('tiny', '1x64x64x3 uint8', 1, 9, time, 1.0),
        DecodeRow('8x8x19', '64x64', 9, time, time, time, 1.0, 1.0),
        PeakRow('tiny', 50.0, 51.0, 7, 900, 20.0, rate),
        PeakRow('base', 0.0, 0.1, 7, 9, 20.0, None),
        rate,
        MemoryRow('tiny', 100, 180, 190, 190, 200, None, 90, 0.0, 10, [Sample(5, 190)]),
        Skipped('tensorrt', 'is not installed'),
    ]
