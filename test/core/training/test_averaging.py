from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lemore_core.training.averaging import _moving_average


@pytest.mark.parametrize('decay', [0.0, 0.5, 0.9, 0.999])
def test_the_average_is_that_of_a_plain_loop(decay: float) -> None:
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    averaged = AveragedModel(module, multi_avg_fn=_moving_average(decay))
    expected: list[Tensor] = []
    for step in range(40):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter))
        averaged.update_parameters(module)
        now = [p.detach().clone() for p in module.parameters()]
        # the first is copied; early averages keep less than the decay says
        kept = min(decay, (1 + step) / (10 + step))
        pairs = zip(expected, now, strict=True)
        expected = [kept * a + (1 - kept) * b for a, b in pairs] if step else now
    for average, value in zip(averaged.module.parameters(), expected, strict=True):
        assert torch.allclose(average, value, atol=1e-5)


def test_counters_are_copied_and_statistics_averaged() -> None:
    norm = nn.BatchNorm2d(2)
    averaged = AveragedModel(norm, multi_avg_fn=_moving_average(0.5), use_buffers=True)
    for _ in range(12):
        norm(torch.randn(4, 2, 3, 3) + 5)
        averaged.update_parameters(norm)
    average = averaged.module
    assert average.num_batches_tracked == 12
    assert average.num_batches_tracked.dtype == torch.int64
    # it lags behind what rises
    assert (average.running_mean < norm.running_mean).all()
    assert (average.running_mean > 1).all()


def test_an_average_keeps_its_own_precision() -> None:
    average, current = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float32)
    _moving_average(0.75)([average], [current], torch.tensor(1000))
    assert average.dtype == torch.float64
    assert average.tolist() == [0.25, 0.25]
